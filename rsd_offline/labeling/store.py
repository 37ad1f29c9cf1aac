"""The label store: Parquet shards with one row per (frame, object) and one per frame, whoever the teacher was.

A privileged teacher of the embedded world and a vision-language model write the same columns, so training reads either.
An object that the teacher did not judge has `valid` false and a null risk: unknown, never zero.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA_VERSION = 1

OBJECT_SCHEMA = pa.schema(
    [
        ("frame_id", pa.string()),
        ("object_id", pa.int64()),
        ("class_name", pa.string()),
        ("camera", pa.string()),  # camera of `image_box`, "" = none
        ("image_box", pa.list_(pa.float32(), 4)),  # x0, y0, x1, y1 in pixels, null = not seen in an image
        ("box", pa.list_(pa.float32(), 7)),  # x, y, z, length, width, height, yaw in base_link, null = unknown
        ("risk", pa.float32()),  # mean over samples, [0, 1], null = invalid
        ("spread", pa.float32()),  # standard deviation over samples
        ("rank", pa.int32()),  # 1 = most dangerous, 0 = not ranked
        ("crosses_ego_path", pa.bool_()),
        ("cause", pa.string()),
        ("valid", pa.bool_()),
        ("samples", pa.int32()),
        ("weight", pa.float32()),  # trust in this label, [0, 1]
    ]
)
FRAME_SCHEMA = pa.schema(
    [
        ("frame_id", pa.string()),
        ("judged", pa.string()),  # all = every place in range was judged, objects = only the listed objects were
        ("current_action", pa.string()),
        ("future_action", pa.string()),
        ("reason", pa.string()),
        ("control", pa.string()),
        ("turn", pa.string()),
        ("lane", pa.string()),
        ("kendall_tau", pa.float32()),  # mean rank agreement between samples, null = one sample
        ("answers", pa.list_(pa.string())),  # raw answers of the teacher
    ]
)


class LabelStoreError(ValueError):
    """A label store cannot be read or written."""


@dataclass(frozen=True)
class ObjectLabel:
    """One teacher's word on one object of one frame; columns as in OBJECT_SCHEMA."""

    frame_id: str
    object_id: int
    class_name: str
    risk: float | None
    camera: str = ""
    image_box: tuple[float, float, float, float] | None = None
    box: tuple[float, ...] | None = None
    spread: float | None = None
    rank: int = 0
    crosses_ego_path: bool | None = None
    cause: str = ""
    valid: bool = True
    samples: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.valid and (self.risk is None or not 0.0 <= self.risk <= 1.0):
            raise LabelStoreError(f"{self.frame_id}: object {self.object_id} is valid but its risk is {self.risk}")


@dataclass(frozen=True)
class FrameLabel:
    """One teacher's word on one frame as a whole; columns as in FRAME_SCHEMA."""

    frame_id: str
    judged: str = "objects"
    current_action: str = ""
    future_action: str = ""
    reason: str = ""
    control: str = ""
    turn: str = ""
    lane: str = ""
    kendall_tau: float | None = None
    answers: tuple[str, ...] = ()


def write_shard(
    folder: Path, name: str, frames: Iterable[FrameLabel], objects: Iterable[ObjectLabel], teacher: dict[str, str]
) -> None:
    """Write `<name>.objects.parquet` and `<name>.frames.parquet` into `folder`, each replaced as a whole.

    `teacher` names who judged (model, prompt_hash, parameters ...); it goes into the file metadata.
    The frames file is written last: a shard counts as done when it exists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"rsd.schema_version": str(SCHEMA_VERSION), **{f"rsd.teacher.{k}": v for k, v in teacher.items()}}
    for kind, schema, rows in (("objects", OBJECT_SCHEMA, objects), ("frames", FRAME_SCHEMA, frames)):
        table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema.with_metadata(metadata))
        partial = folder / f".{name}.{kind}.partial"
        pq.write_table(table, partial, compression="zstd")
        os.replace(partial, folder / f"{name}.{kind}.parquet")


def read_table(folder: Path, kind: str) -> pa.Table:
    """All shards of one kind (`objects` or `frames`) of a store as one table.

    Raises LabelStoreError when there is none or a shard has another schema version.
    """
    paths = sorted(folder.rglob(f"*.{kind}.parquet"))
    if not paths:
        raise LabelStoreError(f"{folder} holds no *.{kind}.parquet: is it a label store written by `rsd label`?")
    tables = []
    for path in paths:
        table = pq.read_table(path)
        version = (table.schema.metadata or {}).get(b"rsd.schema_version", b"?").decode()
        if version != str(SCHEMA_VERSION):
            raise LabelStoreError(f"{path} has schema version {version}, this code reads {SCHEMA_VERSION}: label again")
        tables.append(table.replace_schema_metadata(None))
    return pa.concat_tables(tables)


def read_risks(folder: Path) -> dict[str, dict[int, tuple[float, float]]]:
    """Valid risks of a store: frame id -> object id -> (risk, weight)."""
    table = read_table(folder, "objects")
    risks: dict[str, dict[int, tuple[float, float]]] = {}
    columns = [table.column(name).to_pylist() for name in ("frame_id", "object_id", "risk", "weight", "valid")]
    for frame_id, object_id, risk, weight, valid in zip(*columns, strict=True):
        if valid and risk is not None and np.isfinite(risk):
            risks.setdefault(frame_id, {})[object_id] = (risk, weight)
    return risks


def read_judged(folder: Path) -> dict[str, str]:
    """Frame id -> what the teacher judged there (`all` or `objects`)."""
    table = read_table(folder, "frames")
    return dict(zip(table.column("frame_id").to_pylist(), table.column("judged").to_pylist(), strict=True))
