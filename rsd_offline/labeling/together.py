"""Several samples in one request (`n` of the OpenAI API): the prompt is paid for once, if the server plays along."""

from __future__ import annotations

from collections.abc import Sequence

from rsd_offline.labeling.answer_cache import Answer

TRIES = 8  # requests for several samples that bring none, until samples are asked for one by one


class Together:
    """How many samples a teacher is asked for at once.

    Servers differ: some give one answer whatever `n` is, some refuse it, and some repeat one answer n times, which
    would pass for samples that agree. A server is believed from the first time on that its answers to one request
    differ, and is no more asked for several after TRIES requests without that.
    """

    def __init__(self, most: int) -> None:
        self.size, self.believed, self.why_singly = most, False, ""
        self._failed = 0

    def usable(self, asked: int, answers: Sequence[Answer]) -> list[Answer]:
        """Those answers to one request for `asked` samples that count as samples."""
        if asked == 1 or self.believed:
            return list(answers)
        if len({answer.text for answer in answers if answer.text}) > 1:
            self.believed = True
            return list(answers)
        self.failed("repeats its answer" if len(answers) > 1 else "gives one answer")
        return [answers[0]]

    def failed(self, why: str) -> None:
        """A request for several samples did not bring several."""
        self._failed += 1
        if self._failed >= TRIES and not self.believed:
            self.size, self.why_singly = 1, why
