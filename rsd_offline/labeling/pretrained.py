"""Loading models of `transformers`: one sentence where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UnloadableModelError(ValueError):
    """A model cannot be had."""


@contextmanager
def loading(what: str, model: str) -> Iterator[None]:
    """Turns what `transformers` says of a missing model into UnloadableModelError."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnloadableModelError(
            f"{what} {model} cannot be loaded: give a folder as `save_pretrained` writes it, or a name on the hub and "
            f"a network ({first})"
        ) from error
