"""What a teacher said in words, as targets of the language heads: actions as classes, texts as embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rsd_model.heads.language import ACTION_SETS, LanguageHeadConfig
from rsd_model.losses.language import UNKNOWN
from rsd_offline.labeling.store import LabelStoreError, read_table
from rsd_offline.labeling.text_embeddings import ANSWER_COLUMNS, EMBEDDINGS_FILE, TextEmbeddings

ACTION_COLUMNS = ("control", "turn", "lane")  # of a frame, in the order of ACTION_SETS


class LanguageAnswers:
    """Answers of label stores by frame; a frame, a text or an action that a store lacks is unknown.

    Raises LabelStoreError where a store has texts but not their embeddings, or these have another size than
    `text_dims`. With `alignment_weight` 0 only actions are read.
    """

    def __init__(self, stores: Iterable[Path], config: LanguageHeadConfig) -> None:
        self._config = config
        self._texts: dict[str, np.ndarray] = {}
        self._actions: dict[str, np.ndarray] = {}
        for store in stores:
            self._read(store)

    def __len__(self) -> int:
        """Number of frames with any answer."""
        return len(self._actions.keys() | self._texts.keys())

    def of(self, frame_id: str) -> dict[str, np.ndarray]:
        """`language_text` (3, text_dims), nan = unknown, and `language_actions` (3,), UNKNOWN = unknown, of a frame."""
        no_text = np.full((len(ANSWER_COLUMNS), self._config.text_dims), np.nan, np.float32)
        no_action = np.full(len(ACTION_SETS), UNKNOWN)
        return {
            "language_text": self._texts.get(frame_id, no_text),
            "language_actions": self._actions.get(frame_id, no_action),
        }

    def _read(self, store: Path) -> None:
        columns = ("frame_id", *ANSWER_COLUMNS, *ACTION_COLUMNS)
        rows = read_table(store, "frames", columns).select(columns).to_pylist()
        for row in rows:
            chosen = [_class_of(row[name], allowed) for name, allowed in zip(ACTION_COLUMNS, ACTION_SETS, strict=True)]
            if any(number != UNKNOWN for number in chosen):
                self._actions[row["frame_id"]] = np.array(chosen)
        told = {row["frame_id"]: [row[name] or "" for name in ANSWER_COLUMNS] for row in rows}
        told = {frame_id: texts for frame_id, texts in told.items() if any(text.strip() for text in texts)}
        if told and self._config.alignment_weight > 0.0:
            self._embed(store, told)

    def _embed(self, store: Path, told: dict[str, list[str]]) -> None:
        path = store / EMBEDDINGS_FILE
        if not path.is_file():
            raise LabelStoreError(
                f"{store} holds texts but no {EMBEDDINGS_FILE}: make it with `rsd labels embed {store}`"
            )
        embeddings, dims = TextEmbeddings(path), self._config.text_dims
        if embeddings.dims not in (None, dims):
            raise LabelStoreError(f"{path} holds {embeddings.dims} numbers a text, language_head.text_dims is {dims}")
        for frame_id, texts in told.items():
            vectors = embeddings.get(texts, dims)
            if np.isfinite(vectors).any():
                self._texts[frame_id] = vectors
        embeddings.close()


def _class_of(action: str | None, allowed: tuple[str, ...]) -> int:
    return allowed.index(action) if action in allowed else UNKNOWN
