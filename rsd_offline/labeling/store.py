"""The label store: Parquet shards with one row per (frame, object) and one per frame, whoever the teacher was.

    <store>/part-00000.objects.parquet  OBJECT_SCHEMA: risk, rank, cause ... of each object (RSD)
    <store>/part-00000.frames.parquet   FRAME_SCHEMA: current_action, future_action, reason in words, and control, turn,
                                        lane from closed sets (VLM-AD); "" where the teacher was not asked or gave none
    <store>/part-00000.audit.parquet    AUDIT_SCHEMA: what was asked, what came back, its cost
    <store>/part-00000.maps.parquet     MAPS_SCHEMA: dense risk
    <store>/text_embeddings.sqlite      embeddings of the frames' texts (`text_embeddings.TextEmbeddings`)

`audit` and `maps` are left by teachers that were asked; the recorder of the embedded world writes the first two alone.
A privileged teacher of the embedded world and a vision-language model write the same columns, so training reads either.
Names and meanings of columns stay within a SCHEMA_VERSION. `frame_id` is <clip>/<five digits>.
An object that the teacher did not judge has `valid` false and a null risk: unknown, never zero.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
AUDIT_SCHEMA = pa.schema(
    [
        ("frame_id", pa.string()),
        # ok, gated = samples disagree too much, failed = nothing usable; in the last two no object is valid
        ("status", pa.string()),
        ("failure", pa.string()),  # why it failed, or why a frame that is ok or gated has no action
        ("town", pa.string()),
        ("weather", pa.string()),
        ("time_of_day", pa.string()),
        ("ego_speed", pa.float32()),
        ("luminance", pa.float32()),  # mean of the images, 0 .. 255, null = not looked at
        ("brightened", pa.bool_()),
        ("asked", pa.int32()),  # objects put before the teacher
        ("samples", pa.int32()),  # usable answers
        ("omitted_first", pa.int32()),  # object judgements missing from first answers, over all samples
        ("omitted", pa.int32()),  # the same after asking again
        ("faults", pa.list_(pa.string())),  # reason:count of answers and entries that could not be used
        ("sample_risks", pa.string()),  # JSON: one {object id: risk} per sample
        ("diff_risk", pa.float32()),  # mean over pairs of samples, null = one sample
        ("requests", pa.int32()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)
MAPS_SCHEMA = pa.schema(
    [
        ("frame_id", pa.string()),
        ("rows", pa.int32()),  # along y
        ("columns", pa.int32()),  # along x
        ("resolution", pa.float32()),  # m per cell
        ("origin_x", pa.float32()),  # m, base_link, corner of cell (0, 0)
        ("origin_y", pa.float32()),
        ("values", pa.binary()),  # rows x columns uint8: risk * 254, 255 = not judged
    ]
)
SCHEMAS = {"objects": OBJECT_SCHEMA, "audit": AUDIT_SCHEMA, "maps": MAPS_SCHEMA, "frames": FRAME_SCHEMA}


class LabelStoreError(ValueError):
    """A label store cannot be read or written."""


class DamagedShardError(LabelStoreError):
    """A file of a shard is cut off or no Parquet."""


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


@dataclass(frozen=True)
class FrameAudit:
    """How one frame's labels came about; columns as in AUDIT_SCHEMA."""

    frame_id: str
    status: str = "ok"
    failure: str = ""
    town: str = ""
    weather: str = ""
    time_of_day: str = ""
    ego_speed: float | None = None
    luminance: float | None = None
    brightened: bool = False
    asked: int = 0
    samples: int = 0
    omitted_first: int = 0
    omitted: int = 0
    faults: tuple[str, ...] = ()
    sample_risks: str = "[]"
    diff_risk: float | None = None
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class RiskMapRow:
    """A dense risk map; columns as in MAPS_SCHEMA."""

    frame_id: str
    rows: int
    columns: int
    resolution: float
    origin_x: float
    origin_y: float
    values: bytes


def write_shard(
    folder: Path,
    name: str,
    frames: Iterable[FrameLabel],
    objects: Iterable[ObjectLabel],
    teacher: dict[str, str],
    audit: Iterable[FrameAudit] = (),
    maps: Iterable[RiskMapRow] = (),
) -> None:
    """Write `<name>.<kind>.parquet` into `folder` for each kind that has rows, each file replaced as a whole.

    `teacher` names who judged (model, prompt_hash, parameters ...); it goes into the file metadata.
    The frames file is written last: a shard counts as done when it exists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"rsd.schema_version": str(SCHEMA_VERSION), **{f"rsd.teacher.{k}": v for k, v in teacher.items()}}
    given = {"objects": objects, "audit": audit, "maps": maps, "frames": frames}
    (folder / f"{name}.frames.parquet").unlink(missing_ok=True)  # a kill must not leave old frames beside new objects
    for kind, schema in SCHEMAS.items():
        rows = [vars(row) for row in given[kind]]
        if not rows and kind in ("audit", "maps"):
            continue
        table = pa.Table.from_pylist(rows, schema=schema.with_metadata(metadata))
        partial = folder / f".{name}.{kind}.partial"
        try:
            pq.write_table(table, partial, compression="zstd")
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        os.replace(partial, folder / f"{name}.{kind}.parquet")


def read_table(folder: Path, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All finished shards of one kind (a name of SCHEMAS) as one table, with all columns or the given ones.

    Raises LabelStoreError when there is none, or a shard is damaged or has another schema version.
    """
    paths = sorted(p for p in folder.rglob(f"*.{kind}.parquet") if _is_finished(p, kind))
    if not paths:
        raise LabelStoreError(f"{folder} holds no finished *.{kind}.parquet: is it a store written by `rsd label`?")
    return pa.concat_tables([_read(path, columns).replace_schema_metadata(None) for path in paths])


def _is_finished(path: Path, kind: str) -> bool:
    return path.with_name(path.name.removesuffix(f".{kind}.parquet") + ".frames.parquet").is_file()


def count_answers(folder: Path) -> int:
    """Raw answers in a store, refusals included; shard by shard, as all of them may not fit into memory."""
    paths = folder.rglob("*.frames.parquet")
    lengths = (pc.sum(pc.list_value_length(_read(path, ["answers"]).column("answers"))).as_py() for path in paths)
    return sum(length or 0 for length in lengths)


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


@dataclass(frozen=True)
class FinishedShard:
    """A shard that was written to its end."""

    teacher: dict[str, str]  # as given to `write_shard`
    frame_ids: tuple[str, ...]
    failures: tuple[str, ...]  # reasons of the frames that lack all labels or the action's


def finished_shard(folder: Path, name: str) -> FinishedShard | None:
    """A finished shard; None where there is none, or a damaged one. Raises LabelStoreError for another schema."""
    path = folder / f"{name}.frames.parquet"
    if not path.is_file():
        return None
    try:
        frames = _read(path, ["frame_id"])
        audit = folder / f"{name}.audit.parquet"
        failures = _read(audit, ["failure"]).column("failure").to_pylist() if audit.is_file() else []
    except DamagedShardError:
        return None
    start = "rsd.teacher."
    metadata = {k.decode(): v.decode() for k, v in (frames.schema.metadata or {}).items()}
    teacher = {k.removeprefix(start): v for k, v in metadata.items() if k.startswith(start)}
    return FinishedShard(teacher, tuple(frames.column("frame_id").to_pylist()), tuple(filter(None, failures)))


def delete_shard(folder: Path, name: str) -> None:
    """Delete a shard; a kill on the way leaves one that does not count."""
    for kind in reversed(SCHEMAS):  # `frames` first
        (folder / f"{name}.{kind}.parquet").unlink(missing_ok=True)


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """A shard's file of this schema version. Raises LabelStoreError for another one, DamagedShardError."""
    try:
        table = pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise DamagedShardError(f"{path} is damaged ({error}): run `rsd label` again, which writes it anew") from error
    version = (table.schema.metadata or {}).get(b"rsd.schema_version", b"?").decode()
    if version != str(SCHEMA_VERSION):
        raise LabelStoreError(f"{path} has schema version {version}, this code reads {SCHEMA_VERSION}: label anew")
    return table
