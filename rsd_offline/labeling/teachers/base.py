"""What every teacher is, and how it says that it cannot answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.questions import Question


@dataclass(frozen=True)
class TeacherIdentity:
    """Everything that changes a teacher's answers to the same words."""

    model: str
    parameters: dict = field(default_factory=dict)  # temperature, dials ...; never a key

    @cached_property
    def fingerprint(self) -> str:
        """Part of every question's name in the cache."""
        text = self.model + json.dumps(self.parameters, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Teacher(Protocol):
    """Answers questions; raises one of the exceptions below where it cannot."""

    identity: TeacherIdentity
    looks: bool  # it is shown pictures; controls are not
    samples: bool  # asked again with another seed it may answer differently
    family: str  # default prompt family
    reach: float  # m; objects beyond it are not put before this teacher. inf: it judges all that it is shown
    choices: int  # samples that one request may ask for; more than 1 only with `SeveralTeacher`

    async def ask(self, question: Question) -> Answer:
        """Answer one question."""
        ...

    async def close(self) -> None:
        """Give back what is held."""
        ...


class SeveralTeacher(Teacher, Protocol):
    """A teacher that may be asked for several samples of one question at once."""

    async def ask_several(self, question: Question, count: int) -> list[Answer]:
        """1 to `count` answers to one request, the first of which bears the request's tokens."""
        ...


class TeacherBusyError(RuntimeError):
    """Not now: overrun, timed out or away. `reason` is counted; `retry_after` in s where the server said so."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry_after = reason, retry_after


class TeacherRefusedError(RuntimeError):
    """Never for this question (a refused image, too long a prompt); other questions may go through."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class TeacherDeniedError(RuntimeError):
    """For no question at all (key, address or model is wrong): the run has to stop."""


class AnswerPendingError(RuntimeError):
    """The question was written down for later (batch files)."""
