"""Asking a teacher so that nothing is lost and nothing is asked twice: cache, throttle, budget, retries, counts."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass, field

from rsd_offline.labeling.answer_cache import Answer, AnswerCache, StorageFullError
from rsd_offline.labeling.costs import BudgetReachedError, Purse
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.teachers.base import (
    Teacher,
    TeacherBusyError,
    TeacherDeniedError,
    TeacherRefusedError,
)
from rsd_offline.labeling.throttle import Throttle

OWN_FAULTS = ("timeout", "broken_response", "http_500")  # may be this question's own; the others are the server's state


class RunStoppedError(RuntimeError):
    """The run cannot go on now; what was answered is kept, and the same call goes on from there."""


@dataclass
class AskingConfig:
    """Patience."""

    patience: float = 7200.0  # s without any answer until the server counts as gone for good
    first_contact: float = 300.0  # s of the same while no connection was ever made: it may still be starting
    strikes: int = 6  # failures of one question while others are answered, until it is given up
    first_refusals: int = 8  # questions refused before any is answered, until it is put down to how they are asked
    retry_refused: bool = False  # ask anew what was refused in an earlier run
    min_free_bytes: int = 200 * 2**20  # stop in time before the disk is full


@dataclass
class RunCounts:
    """What happened so far in this run."""

    answers: int = 0  # received from the teacher
    cached: int = 0  # found in the cache
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failures: Counter = field(default_factory=Counter)  # reason -> requests that brought no answer


class Asker:
    """Gets answers, from the cache where they are known."""

    def __init__(
        self, teacher: Teacher, cache: AnswerCache, throttle: Throttle, purse: Purse, config: AskingConfig | None = None
    ) -> None:
        self.teacher, self.cache, self.throttle, self.purse = teacher, cache, throttle, purse
        self.config, self.counts = config or AskingConfig(), RunCounts()
        self.stopped: str | None = None  # why no new question is sent
        self._disk_checked = 0.0
        self._refused_at_first: list[tuple[bytes, Answer]] | None = []  # not kept yet; None once any was answered

    async def ask(self, question: Question) -> Answer:
        """The teacher's answer. Raises RunStoppedError once the run has to end, AnswerPendingError for batch files."""
        key = question.key(self.teacher.identity.fingerprint)
        known = self.cache.get(key)
        if known is not None and not (known.refusal and self.config.retry_refused):
            self.counts.cached += 1
            return known
        try:
            reserved = await self.purse.reserve(question)
        except BudgetReachedError as error:
            self.stop(str(error))
            raise RunStoppedError(self.stopped) from None
        answer = None
        try:
            answer = await self._insist(question)
        finally:
            await self.purse.settle(question, reserved, answer)
        self._keep(key, answer)
        return answer

    def stop(self, reason: str) -> None:
        """Send no new question; what is in flight may still come back."""
        self.stopped = self.stopped or reason

    async def _insist(self, question: Question) -> Answer:
        strikes = 0
        while True:
            answered_before = self.counts.answers
            async with self.throttle.slot() as began:
                self._check()
                try:
                    answer = await self.teacher.ask(question)
                    self.throttle.succeeded()
                    return answer
                except TeacherBusyError as error:
                    self.counts.failures[error.reason] += 1
                    self.throttle.overrun(began, error.retry_after)
                    busy = error.reason
                except TeacherRefusedError as error:
                    self.counts.failures[error.reason] += 1
                    self.throttle.succeeded()
                    self._check_refusal(error)
                    return Answer("", refusal=error.reason)
                except TeacherDeniedError as error:
                    self.stop(str(error))
                    raise RunStoppedError(self.stopped) from None
            patience = self._patience(busy)
            if self.throttle.silent_for > patience:
                self.stop(
                    f"the server has not answered for {patience:.0f} s (last: {busy}): see that it runs, check "
                    "--base-url, and run again"
                )
            strikes += busy in OWN_FAULTS and self.counts.answers > answered_before
            if strikes >= self.config.strikes:
                return Answer("", refusal=f"gave_up_{busy}")

    def _patience(self, busy: str) -> float:
        never_seen = set(self.counts.failures) == {"no_connection"} == {busy} and self.counts.answers == 0
        return min(self.config.patience, self.config.first_contact) if never_seen else self.config.patience

    def _check_refusal(self, error: TeacherRefusedError) -> None:
        """Stop where everything is refused from the first question on: then it is not the questions' fault."""
        early = self._refused_at_first
        if early is not None and len(early) + 1 >= self.config.first_refusals:
            self.stop(
                f"the server refused the first {len(early) + 1} questions ({error}): check --model, and try "
                "--structure json_object or none if it knows no JSON schemas"
            )
            raise RunStoppedError(self.stopped)

    def _check(self) -> None:
        now = time.monotonic()
        if now - self._disk_checked > 1.0:
            self._disk_checked = now
            free = shutil.disk_usage(self.cache.folder).free
            if free < self.config.min_free_bytes:
                self.stop(f"only {free >> 20} MiB are free at {self.cache.folder}: make room and run again")
        if self.stopped:
            raise RunStoppedError(self.stopped)

    def _keep(self, key: bytes, answer: Answer) -> None:
        self.counts.answers += 1
        self.counts.prompt_tokens += answer.prompt_tokens
        self.counts.completion_tokens += answer.completion_tokens
        if answer.refusal.startswith("gave_up"):
            return
        kept = [(key, answer)]
        if self._refused_at_first is not None:
            kept = [*self._refused_at_first, *kept]
            self._refused_at_first = kept if answer.refusal else None
            if answer.refusal:
                return
        try:
            for name, known in kept:
                self.cache.put(name, known)
        except StorageFullError as error:
            self.stop(f"{error}: make room and run again")
            raise RunStoppedError(self.stopped) from error
