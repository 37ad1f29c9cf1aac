"""Text embeddings of the teacher's answers, kept on disk so that training needs no text encoder.

They lie beside the labels, in `<store>/text_embeddings.sqlite`: one vector per text, named by the SHA-256 of the text.
A reader takes the texts from the store (`current_action`, `future_action`, `reason` of its frames) and looks them up:

    embeddings = TextEmbeddings(store / EMBEDDINGS_FILE)
    embeddings.get(texts, embeddings.dims)  # (N, dims) float32, nan rows = never embedded

Tables: `embeddings` (key BLOB = SHA-256 of the UTF-8 text, vector BLOB = float32 little-endian, unit length) and
`model` (fingerprint TEXT of the encoder's weights, one row).
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from rsd_offline.labeling.store import read_table

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "openai/clip-vit-base-patch32"  # VLM-AD's; 512 dimensions
EMBEDDINGS_FILE = "text_embeddings.sqlite"  # in a label store's folder
ANSWER_COLUMNS = ("current_action", "future_action", "reason")  # the frame texts that the language head learns from


class TextEncoderError(ValueError):
    """A text encoder cannot be had or is of another kind."""


class TextEncoder(Protocol):
    """Anything that embeds texts."""

    fingerprint: str  # of the model's weights: the same on every machine, wherever they were loaded from

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32 embeddings of unit length."""
        ...


class ClipTextEncoder:
    """CLIP's text tower through `transformers` (extra `vlm`).

    `model`: a local folder as `save_pretrained` writes it, or a name on the hub. Texts beyond the model's length (77
    tokens) are cut, and it is logged how many were. Raises TextEncoderError where it cannot be had or is no CLIP.
    """

    def __init__(self, model: str | Path = DEFAULT_MODEL, device: str = "cpu") -> None:
        self._tokenizer, self._model = _load_clip(str(model))
        projection = self._model.text_projection.weight.detach().float().numpy()
        self.fingerprint = hashlib.sha256(projection.tobytes()).hexdigest()[:16]
        self._model = self._model.to(device)
        self._length = self._model.config.max_position_embeddings

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32 embeddings of unit length."""
        import torch

        lengths = [len(ids) for ids in self._tokenizer(list(texts))["input_ids"]]
        cut = sum(length > self._length for length in lengths)
        if cut:
            logger.warning("%d of %d texts are longer than %d tokens and were cut", cut, len(texts), self._length)
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._length, return_tensors="pt"
        ).to(self._model.device)
        with torch.inference_mode():
            embedded = self._model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).text_embeds
        return torch.nn.functional.normalize(embedded.float(), dim=-1).cpu().numpy()


def _load_clip(model: str) -> tuple:
    """Tokenizer and text tower."""
    try:
        from transformers import AutoConfig, AutoTokenizer, CLIPTextModelWithProjection
    except ImportError as error:
        raise ImportError("text embeddings need the package transformers: pip install '.[vlm]'") from error
    try:
        kind = AutoConfig.from_pretrained(model).model_type
        if kind.startswith("clip"):  # weights of another kind would be drawn at random without a word
            return AutoTokenizer.from_pretrained(model), CLIPTextModelWithProjection.from_pretrained(model).eval()
    except (OSError, ValueError) as error:
        raise TextEncoderError(
            f"text encoder {model} cannot be loaded: give a folder that holds a CLIP of transformers (config.json, "
            f"model.safetensors, tokenizer), or a name on the hub and a network ({str(error).splitlines()[0]})"
        ) from error
    raise TextEncoderError(f"text encoder {model} is a {kind} model: give a CLIP, such as {DEFAULT_MODEL}")


class TextEmbeddings:
    """Embeddings of one model in one SQLite file, keyed by a hash of the text: safe to stop, to rerun and to share.

    Without an encoder the file is only read. Raises FileNotFoundError where there is none to read, ValueError where the
    file holds another model's embeddings.
    """

    def __init__(self, path: str | Path, encoder: TextEncoder | None = None) -> None:
        if encoder is None and not Path(path).is_file():
            raise FileNotFoundError(f"no text embeddings at {path}: make them with a text encoder first")
        self._path, self._encoder = path, encoder
        self._database = sqlite3.connect(path, timeout=60.0)
        with self._database:
            self._database.execute("CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
            self._database.execute("CREATE TABLE IF NOT EXISTS model (fingerprint TEXT PRIMARY KEY)")
        if encoder is not None:
            self._claim(encoder.fingerprint)

    def __len__(self) -> int:
        return int(self._database.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0])

    @property
    def dims(self) -> int | None:
        """Size of the embeddings; None where there are none yet."""
        row = self._database.execute("SELECT vector FROM embeddings LIMIT 1").fetchone()
        return None if row is None else len(row[0]) // 4

    def add(self, texts: Sequence[str], batch: int = 64, on_progress: Callable[[int], None] = lambda _: None) -> int:
        """Embed the texts that are not there yet; returns how many were. `on_progress` hears the size of each batch."""
        if self._encoder is None:
            raise ValueError(f"{self._path} was opened without a text encoder and can only be read")
        missing = [text for text in dict.fromkeys(texts) if text.strip() and self._find(text) is None]
        for start in range(0, len(missing), batch):
            part = missing[start : start + batch]
            vectors = self._encoder.encode(part).astype(np.float32)
            rows = [(_key(text), vector.tobytes()) for text, vector in zip(part, vectors, strict=True)]
            with self._database:
                self._database.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", rows)
            on_progress(len(part))
        return len(missing)

    def get(self, texts: Sequence[str], dims: int) -> np.ndarray:
        """(N, dims) float32; nan rows for empty texts and for texts that were never added.

        Raises ValueError where the stored embeddings have another size.
        """
        found = np.full((len(texts), dims), np.nan, np.float32)
        for row, text in zip(found, texts, strict=True):
            vector = self._find(text) if text.strip() else None
            if vector is None:
                continue
            if len(vector) != dims:
                raise ValueError(f"text embeddings in {self._path} have {len(vector)} dimensions, expected {dims}")
            row[:] = vector
        return found

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _claim(self, fingerprint: str) -> None:
        with self._database:
            stored = self._database.execute("SELECT fingerprint FROM model").fetchone()
            if stored is None:
                self._database.execute("INSERT INTO model VALUES (?)", (fingerprint,))
            elif stored[0] != fingerprint:
                raise ValueError(
                    f"{self._path} holds embeddings of model {stored[0]}, not of {fingerprint}: use another file"
                )

    def _find(self, text: str) -> np.ndarray | None:
        row = self._database.execute("SELECT vector FROM embeddings WHERE key = ?", (_key(text),)).fetchone()
        return None if row is None else np.frombuffer(row[0], np.float32)


def store_texts(store: Path, causes: bool = False) -> list[str]:
    """The different texts of a label store, sorted: the frames' answers, and with `causes` each object's cause too.

    Raises LabelStoreError where there is no store.
    """
    frames = read_table(store, "frames", ANSWER_COLUMNS)
    columns = [frames.column(name) for name in ANSWER_COLUMNS]
    columns += [read_table(store, "objects", ("cause",)).column("cause")] if causes else []
    return sorted({text for column in columns for text in column.unique().to_pylist() if text and text.strip()})


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
