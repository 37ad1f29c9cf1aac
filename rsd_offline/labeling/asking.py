"""Asking a teacher so that nothing is lost and nothing is asked twice: cache, throttle, budget, retries, counts."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from rsd_offline.labeling.answer_cache import Answer, AnswerCache, StorageFullError
from rsd_offline.labeling.costs import BudgetReachedError, Purse
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.teachers.base import (
    SeveralTeacher,
    Teacher,
    TeacherBusyError,
    TeacherDeniedError,
    TeacherRefusedError,
)
from rsd_offline.labeling.throttle import Throttle
from rsd_offline.labeling.together import Together

ELSEWHERE = ("no_connection", "http_429", "http_502", "http_503")  # the server's state: says nothing of what was asked
FEW_LEFT = 8  # open questions that cannot wait for each other's answers to tell whose fault it is


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

    requests: int = 0  # that were answered
    answers: int = 0  # received in them
    cached: int = 0  # found in the cache
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failures: Counter = field(default_factory=Counter)  # reason -> requests that brought no answer
    why_singly: str = ""  # what the teacher does instead of giving several samples at once


class Asker:
    """Gets answers, from the cache where they are known."""

    def __init__(
        self, teacher: Teacher, cache: AnswerCache, throttle: Throttle, purse: Purse, config: AskingConfig | None = None
    ) -> None:
        self.teacher, self.cache, self.throttle, self.purse = teacher, cache, throttle, purse
        self.config, self.counts = config or AskingConfig(), RunCounts()
        self.together = Together(teacher.choices)
        self.stopped: str | None = None  # why no new question is sent
        self._open = 0  # requests on their way, with those that wait for a place
        self._disk_checked = 0.0
        self._refused_at_first: dict[bytes, Answer] | None = {}  # not kept yet; None once any was answered

    async def ask(self, question: Question) -> Answer:
        """The teacher's answer. Raises RunStoppedError once the run has to end, AnswerPendingError for batch files."""
        return (await self.ask_samples([question]))[0]

    async def ask_samples(self, questions: Sequence[Question]) -> list[Answer]:
        """The teacher's answers to samples of one question, which are alike but for their number. Raises as `ask`."""
        keys = [question.key(self.teacher.identity.fingerprint) for question in questions]
        known = self.cache.get_all(keys)
        if self.config.retry_refused:
            known = {key: answer for key, answer in known.items() if not answer.refusal}
        self.counts.cached += len(known)
        missing = [(key, question) for key, question in zip(keys, questions, strict=True) if key not in known]
        size = self.together.size
        await all_of(self._ask_part(missing[i : i + size], known) for i in range(0, len(missing), size))
        return [known[key] for key in keys]

    async def _ask_part(self, part: Sequence[tuple[bytes, Question]], known: dict[bytes, Answer]) -> None:
        """Ask for samples in one request, and one by one for those that it does not bring."""
        question, count = part[0][1], len(part)
        try:
            reserved = await self.purse.reserve(question, count)
        except BudgetReachedError as error:
            self.stop(str(error))
            raise RunStoppedError(self.stopped) from None
        answers: list[Answer] = []
        self._open += 1
        try:
            answers = await self._insist(question, count)
        finally:
            self._open -= 1
            await self.purse.settle(question, reserved, answers)
        brought = {key: answer for (key, _), answer in zip(part, answers, strict=False)}
        known |= brought
        self._keep(brought)
        await all_of(self._ask_part([single], known) for single in part[len(answers) :])

    def stop(self, reason: str) -> None:
        """Send no new question; what is in flight may still come back."""
        self.stopped = self.stopped or reason
        self.throttle.closed = True

    async def _insist(self, question: Question, count: int) -> list[Answer]:
        """Answers to one request for `count` samples, at least one; refusals where none will come."""
        strikes, several_failed = 0, ""
        while True:
            answered_before = self.counts.answers
            async with self.throttle.slot() as began:
                self._check()
                try:
                    answers = await self._request(question, count)
                    self.throttle.succeeded()
                    if several_failed:
                        self.together.failed(several_failed)
                    return self.together.usable(count, answers)
                except TeacherBusyError as error:
                    self.counts.failures[error.reason] += 1
                    self.throttle.overrun(began, error.retry_after)
                    busy = error.reason
                except TeacherRefusedError as error:
                    self.counts.failures[error.reason] += 1
                    self.throttle.succeeded()
                    if count == 1 or self.together.believed:
                        self._check_refusal(error)
                        return _refusals(error.reason, count)
                    busy = error.reason
                except TeacherDeniedError as error:
                    self.stop(str(error))
                    raise RunStoppedError(self.stopped) from None
            if count > 1 and not self.together.believed and busy not in ELSEWHERE:
                count, several_failed = 1, f"fails with {busy}"  # it may be `n` that the server does not bear
            self._check_patience(busy)
            own = self.counts.answers > answered_before or self._open <= FEW_LEFT
            strikes += busy not in ELSEWHERE and own
            if strikes >= self.config.strikes:
                return _refusals(f"gave_up_{busy}", count)

    async def _request(self, question: Question, count: int) -> list[Answer]:
        if count == 1:
            return [await self.teacher.ask(question)]
        return await cast(SeveralTeacher, self.teacher).ask_several(question, count)

    def _check_patience(self, busy: str) -> None:
        patience = self._patience(busy)
        if self.throttle.silent_for > patience:
            self.stop(
                f"the server has not answered for {patience:.0f} s (last: {busy}): see that it runs, check "
                "--base-url, and run again"
            )

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

    def _keep(self, brought: dict[bytes, Answer]) -> None:
        """Count the answers to one request, and put them where a later run finds them."""
        counts, answers = self.counts, brought.values()
        counts.requests += 1
        counts.answers += len(brought)
        counts.prompt_tokens += sum(answer.prompt_tokens for answer in answers)
        counts.completion_tokens += sum(answer.completion_tokens for answer in answers)
        counts.why_singly = self.together.why_singly
        kept = {key: answer for key, answer in brought.items() if not answer.refusal.startswith("gave_up")}
        if kept and self._refused_at_first is not None:
            kept = self._refused_at_first | kept
            refused = all(answer.refusal for answer in kept.values())
            self._refused_at_first = kept if refused else None
            if refused:
                return
        try:
            if kept:
                self.cache.put_all(kept)
        except StorageFullError as error:
            self.stop(f"{error}: make room and run again")
            raise RunStoppedError(self.stopped) from error


def _refusals(reason: str, count: int) -> list[Answer]:
    """One request's refusal as the answer to each of its samples."""
    return [Answer("", refusal=reason, requests=int(i == 0)) for i in range(count)]


async def all_of(jobs: Iterable[Awaitable[Any]]) -> list[Any]:
    """Results of jobs that run side by side; where one of them fails, its error once all have ended."""
    waiting = list(jobs)
    if len(waiting) < 2:  # the usual case, without a task of its own
        return [await job for job in waiting]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
