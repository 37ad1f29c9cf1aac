"""Tokens and money: what a question may cost at most, what has been spent, and a budget that is never passed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.questions import Question

CHARACTERS_PER_TOKEN = 3.5
PIXELS_PER_TOKEN = 28 * 28  # Qwen2.5-VL's patches after merging; tiles of other families cost about as much
OBJECT_TOKENS, ACTION_TOKENS = 45, 110  # of a usual answer: per judged object, and for the actions


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens."""

    prompt: float = 0.0
    completion: float = 0.0

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def estimated_tokens(question: Question) -> tuple[float, float]:
    """Tokens in, and tokens out of a usual answer."""
    picture = question.scene.pictures.get(question.task)
    pixels = picture.size[0] * picture.size[1] if picture is not None and question.pictures else 0
    words = (len(question.text) + len(question.prompt.system)) / CHARACTERS_PER_TOKEN
    out = ACTION_TOKENS if question.task == "action" else 20 + OBJECT_TOKENS * len(question.numbers)
    return words + pixels / PIXELS_PER_TOKEN, min(out, question.prompt.max_tokens)


class BudgetReachedError(RuntimeError):
    """The next question might pass the budget."""


class Purse:
    """Money of a run. The worst cost of every question in flight is set aside, so the budget holds."""

    def __init__(self, prices: Prices, budget: float | None = None) -> None:
        if budget is not None and prices.prompt + prices.completion <= 0.0:
            raise ValueError("a budget needs the prices of tokens: give --price-in and --price-out (US$ per million)")
        self.prices, self.budget = prices, budget
        self.spent, self._reserved, self._held = 0.0, 0.0, 0
        self._ratio = 1.0  # largest seen ratio of real to estimated prompt tokens
        self._returned = asyncio.Condition()

    async def reserve(self, question: Question, count: int = 1) -> float:
        """Set aside what a request for `count` answers may cost at most. Raises BudgetReachedError."""
        if self.budget is None:
            return 0.0
        while True:
            prompt = estimated_tokens(question)[0] * self._ratio * 1.1
            worst = self.prices.cost(prompt, count * question.prompt.max_tokens)
            if self.spent + self._reserved + worst <= self.budget:
                self._reserved += worst
                self._held += 1
                return worst
            if self._held == 0:
                raise BudgetReachedError(
                    f"the budget of {self.budget:.2f} US$ is used up: {self.spent:.4f} spent, "
                    f"and the next question may cost {worst:.4f}"
                )
            async with self._returned:
                await self._returned.wait()

    async def settle(self, question: Question, reserved: float, answers: Sequence[Answer]) -> None:
        """Put back what was set aside and pay for the request, if it brought answers."""
        prompt_tokens = sum(answer.prompt_tokens for answer in answers)
        self.spent += self.prices.cost(prompt_tokens, sum(answer.completion_tokens for answer in answers))
        if prompt_tokens:
            self._ratio = max(self._ratio, prompt_tokens / max(estimated_tokens(question)[0], 1.0))
        if self.budget is not None:
            self._reserved -= reserved
            self._held -= 1
            async with self._returned:
                self._returned.notify_all()
