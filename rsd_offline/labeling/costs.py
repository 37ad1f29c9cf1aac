"""Tokens and money: what a question may cost at most, what has been spent, and a budget that is never passed."""

from __future__ import annotations

import asyncio
from collections import Counter
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
    """Money of a run. The worst cost of every question in flight is set aside, so the budget holds.

    What a picture costs differs tenfold between models: the first question of each task goes alone, and its answer
    tells how far the estimate of prompt tokens is off.
    """

    def __init__(self, prices: Prices, budget: float | None = None) -> None:
        if budget is not None and prices.prompt + prices.completion <= 0.0:
            raise ValueError("a budget needs the prices of tokens: give --price-in and --price-out (US$ per million)")
        self.prices, self.budget = prices, budget
        self.spent, self._reserved = 0.0, 0.0
        self._held: Counter[str] = Counter()  # task -> its requests in flight
        self._ratios: dict[str, float] = {}  # task -> largest seen ratio of real to estimated prompt tokens
        self._returned = asyncio.Condition()

    async def reserve(self, question: Question, count: int = 1) -> float:
        """Set aside what a request for `count` answers may cost at most. Raises BudgetReachedError."""
        if self.budget is None:
            return 0.0
        task = question.task
        while True:
            worst = self._worst(question, count)
            if self.spent + self._reserved + worst <= self.budget and (task in self._ratios or not self._held[task]):
                self._reserved += worst
                self._held[task] += 1
                return worst
            if not self._held.total():
                raise BudgetReachedError(
                    f"the budget of {self.budget:.2f} US$ is used up: {self.spent:.4f} spent, "
                    f"and the next question may cost {worst:.4f}"
                )
            async with self._returned:
                await self._returned.wait()

    def _worst(self, question: Question, count: int) -> float:
        prompt = estimated_tokens(question)[0] * self._ratios.get(question.task, 1.0) * 1.1
        return self.prices.cost(prompt, count * question.prompt.max_tokens)

    async def settle(self, question: Question, reserved: float, answers: Sequence[Answer]) -> None:
        """Put back what was set aside and pay for the request, if it brought answers."""
        prompt_tokens = sum(answer.prompt_tokens for answer in answers)
        paid = self.prices.cost(prompt_tokens, sum(answer.completion_tokens for answer in answers))
        self.spent += paid or (reserved if answers else 0.0)  # a server that tells no tokens is taken to cost the worst
        if answers:
            ratio = prompt_tokens / max(estimated_tokens(question)[0], 1.0) if prompt_tokens else 1.0
            self._ratios[question.task] = max(self._ratios.get(question.task, 0.1), ratio)
        if self.budget is not None:
            self._reserved -= reserved
            self._held[question.task] -= 1
            async with self._returned:
                self._returned.notify_all()
