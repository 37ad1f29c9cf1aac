"""Bounded concurrency that adapts, as TCP does: halved when the server is overrun, then doubled per round of answers up
to half of what it was, then raised by a few per round."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ROUND_GAIN = 4.0  # requests that the limit grows by in a round of answers, above the threshold


class Throttle:
    """At most `limit` requests in flight, 1 <= limit <= `most` (additive increase, multiplicative decrease)."""

    def __init__(self, most: int, first_pause: float = 1.0, longest_pause: float = 60.0) -> None:
        """`first_pause` s after a first failure; it doubles with each in a row, up to `longest_pause`."""
        if most < 1:
            raise ValueError(f"concurrency is {most}, expected 1 or more")
        self.most, self._limit, self._threshold = most, float(most), float(most)
        self._first, self._longest = first_pause, longest_pause
        self.in_flight, self.failures_in_a_row = 0, 0
        self.closed = False  # nothing more will be sent: pauses are over
        self._resume_at, self._last_cut = 0.0, 0.0
        self._silent_since: float | None = None  # when the first request began that failed since the last answer
        self._changed = asyncio.Condition()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return max(1, int(self._limit))

    @property
    def silent_for(self) -> float:
        """s for which the server has been asked and has not answered."""
        return 0.0 if self._silent_since is None else time.monotonic() - self._silent_since

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Wait for a place and for the end of a pause; yields when the request began."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.in_flight < self.limit)
            self.in_flight += 1
        try:
            while not self.closed and (wait := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(min(wait, 1.0))
            yield time.monotonic()
        finally:
            async with self._changed:
                self.in_flight -= 1
                self._changed.notify(2)

    def succeeded(self) -> None:
        """The server answered."""
        self.failures_in_a_row, self._silent_since = 0, None
        step = 1.0 if self._limit < self._threshold else ROUND_GAIN / self._limit
        self._limit = min(float(self.most), self._limit + step)

    def overrun(self, began: float, retry_after: float | None) -> None:
        """The server is overrun or away: fewer at once, and none before its Retry-After or our own pause has passed.

        `began`: when the failed request began. Failures of requests sent before the last cut do not cut again.
        """
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = began
        if began >= self._last_cut:
            if self.failures_in_a_row == 0:
                self._threshold = self._limit / 2.0
            self._limit = max(1.0, self._limit / 2.0)
            self._last_cut = now
            self.failures_in_a_row += 1
            own = min(self._longest, self._first * 2.0 ** (self.failures_in_a_row - 1)) * random.uniform(0.75, 1.25)
            self._resume_at = max(self._resume_at, now + own)
        if retry_after is not None:
            self._resume_at = max(self._resume_at, now + min(retry_after, 3600.0))
