"""`rsd labels show|report|embed`: look at a label store, judge it, and embed its texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

    from rsd_offline.datasets.frames import FrameSource
    from rsd_offline.labeling.text_embeddings import TextEncoder

labels_app = typer.Typer(help="Look at labels, judge them, embed their texts.", no_args_is_help=True)
Dataset = Annotated[Path | None, typer.Option(help="where the dataset lies now; default: where it was labelled")]


@labels_app.command("show")
def show(
    store: Annotated[Path, typer.Argument(help="label store", exists=True)],
    frame: Annotated[str, typer.Argument(help="frame id, such as validation_00000/00012; empty = the riskiest")] = "",
    out: Annotated[Path, typer.Option(help="picture to write")] = Path("labels.png"),
    dataset: Dataset = None,
) -> None:
    """Draw a frame with its boxes, risks and causes, and its risk map from above."""
    from rsd_offline.datasets.frames import FrameSourceError
    from rsd_offline.labeling.report import read_store
    from rsd_offline.labeling.store import LabelStoreError

    try:
        content = read_store(store)
        source = _open(content.about, dataset)
        frame = frame or _riskiest(content.objects)
        _write(out, _Pictures(store, source, [frame]).draw(frame, tile_width=640))
    except (FrameSourceError, LabelStoreError, UnknownFrameError, ImportError, OSError) as error:
        typer.secho(f"rsd labels show: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{frame} -> {out}")


@labels_app.command("report")
def report(
    store: Annotated[Path, typer.Argument(help="label store", exists=True)],
    out: Annotated[Path, typer.Option(help="HTML page to write")] = Path("labels.html"),
    against: Annotated[list[Path] | None, typer.Option(help="stores of other teachers over the same dataset")] = None,
    pictures: Annotated[int, typer.Option(min=0, help="most and least certain frames to show")] = 20,
    dataset: Dataset = None,
) -> None:
    """Write a page on how far the labels can be trusted."""
    import json

    from rsd_offline.datasets.frames import FrameSourceError
    from rsd_offline.labeling.report import certain_frames, figures, read_store
    from rsd_offline.labeling.report_page import render_page
    from rsd_offline.labeling.store import LabelStoreError

    try:
        content = read_store(store)
        against = against or []
        names = [path.resolve().name for path in against]
        others = {n if names.count(n) == 1 else str(p): read_store(p) for n, p in zip(names, against, strict=True)}
        found = figures(content, others)
        shown = {}
        if pictures:
            most, least = certain_frames(content, pictures)
            chosen = [*most, *least]
            drawn = _Pictures(store, _open(content.about, dataset), chosen).jpegs(chosen) if chosen else {}
            rated = dict(zip(content.audit["frame_id"], content.audit["diff_risk"], strict=True))
            groups = {"Frames that its samples disagree on most": least, "Frames that they agree on most": most}
            shown = {
                heading: [(f, f"Diff_Risk {rated[f]:.3f}", drawn[f]) for f in ids if f in drawn]
                for heading, ids in groups.items()
            }
    except (FrameSourceError, LabelStoreError, ImportError) as error:
        typer.secho(f"rsd labels report: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
    try:
        out.write_text(render_page(found, shown))
        out.with_suffix(".json").write_text(json.dumps(found, indent=1))
    except OSError as error:
        typer.secho(
            f"rsd labels report: the page cannot be written ({error}): choose another --out", fg="red", err=True
        )
        raise typer.Exit(2) from None
    typer.echo(f"{out}, {out.with_suffix('.json')}")


@labels_app.command("embed")
def embed(
    store: Annotated[Path, typer.Argument(help="label store", exists=True)],
    text_encoder: Annotated[str, typer.Option(help="CLIP of transformers: a folder, or a name on the hub")] = "",
    causes: Annotated[bool, typer.Option(help="embed each object's cause too, not only the frames' answers")] = False,
) -> None:
    """Embed the teacher's words for training, into STORE/text_embeddings.sqlite. Run it again after more labels."""
    from rsd_offline.labeling.store import LabelStoreError
    from rsd_offline.labeling.text_embeddings import ClipTextEncoder, store_texts

    try:
        texts = store_texts(store, causes)
        encoder = ClipTextEncoder(text_encoder) if text_encoder else ClipTextEncoder()
        embed_texts(store, encoder, texts)
    except (LabelStoreError, ImportError, ValueError) as error:
        typer.secho(f"rsd labels embed: {error}", fg="red", err=True)
        raise typer.Exit(2) from None


def embed_texts(store: Path, encoder: TextEncoder, texts: Sequence[str]) -> None:
    """Add texts to a store's embeddings, with a progress bar."""
    from rich.progress import Progress

    from rsd_offline.labeling.text_embeddings import EMBEDDINGS_FILE, TextEmbeddings

    embeddings = TextEmbeddings(store / EMBEDDINGS_FILE, encoder)
    with Progress() as bar:
        task = bar.add_task("texts", total=len(texts))
        new = embeddings.add(texts, on_progress=lambda count: bar.advance(task, count))
        bar.update(task, completed=len(texts))
    typer.echo(
        f"{len(texts)} texts, {new} of them new, {embeddings.dims or 0} dimensions -> {store / EMBEDDINGS_FILE}"
        + ("" if texts else " (this teacher gave no reasons: label with --task action)")
    )
    embeddings.close()


class UnknownFrameError(ValueError):
    """A frame that is not in the labels, or not in the dataset."""


class _Pictures:
    """Draws frames of a store."""

    def __init__(self, store: Path, source: FrameSource, frame_ids: Sequence[str]) -> None:
        self._source, wanted = source, set(frame_ids)
        self._rows = {kind: _rows(store, kind, frame_ids) for kind in ("frames", "audit", "maps", "objects")}
        numbers = range(len(source))
        self._index = {source.frame_id(number): number for number in numbers if source.frame_id(number) in wanted}

    def draw(self, name: str, tile_width: int) -> np.ndarray:
        """RGB picture of a frame. Raises UnknownFrameError, and FrameSourceError for a frame without images."""
        from rsd_offline.labeling.drawing import draw_labels

        if name not in self._rows["frames"]:
            raise UnknownFrameError(f"frame {name} is not in the labels")
        if name not in self._index:
            raise UnknownFrameError(
                f"frame {name} is not in the dataset, whose frames are named like {self._source.frame_id(0)}: "
                "give the dataset that was labelled by --dataset"
            )
        frame = self._source.frame(self._index[name])
        label, audit, risk_map = (self._rows[k].get(name, [None])[0] for k in ("frames", "audit", "maps"))
        return draw_labels(frame, self._rows["objects"].get(name, []), label, audit, risk_map, tile_width)

    def jpegs(self, frame_ids: Sequence[str]) -> dict[str, bytes]:
        """Small JPEG pictures; frames whose images cannot be read are left out."""
        from rsd_offline.datasets.frames import FrameSourceError
        from rsd_offline.labeling.pictures import encode

        found = {}
        for name in frame_ids:
            try:
                found[name] = encode(self.draw(name, tile_width=360), 75)
            except (FrameSourceError, UnknownFrameError) as error:
                typer.secho(f"no picture of {name}: {error}", fg="yellow", err=True)
        return found


def _rows(store: Path, kind: str, frame_ids: Sequence[str]) -> dict[str, list[dict]]:
    """The rows of some frames by their ids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from rsd_offline.labeling.store import read_table

    table = read_table(store, kind)
    found: dict[str, list[dict]] = {}
    for row in table.filter(pc.is_in(table.column("frame_id"), pa.array(list(frame_ids), pa.string()))).to_pylist():
        found.setdefault(row["frame_id"], []).append(row)
    return found


def _open(about: dict, dataset: Path | None) -> FrameSource:
    from rsd_offline.datasets.sources import open_frames

    return open_frames(dataset or Path(about["path"]), about.get("kind", "auto"))


def _riskiest(objects: dict[str, list]) -> str:
    from rsd_offline.labeling.store import LabelStoreError

    rated = [(r, f) for r, f in zip(objects["risk"], objects["frame_id"], strict=True) if r is not None]
    if not rated:
        raise LabelStoreError("no object of the store has a valid risk: name a frame to show")
    return max(rated)[1]


def _write(path: Path, picture: np.ndarray) -> None:
    import cv2

    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    path.write_bytes(encoded.tobytes())
