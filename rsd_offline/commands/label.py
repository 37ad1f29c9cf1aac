"""`rsd label`: labels for the key frames of a dataset."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rsd_offline.datasets.frames import FrameSource
    from rsd_offline.labeling.run import LabelRun, RunProgress
    from rsd_offline.labeling.teachers.base import Teacher
    from rsd_offline.labeling.text_embeddings import TextEncoder

TEACHERS = "server, local, batch, geometric, random, constant, privileged"


def label(
    dataset: Annotated[
        Path, typer.Argument(help="embedded-world drives, Bench2Drive clips, nuScenes, or an info JSON")
    ],
    out: Annotated[Path, typer.Argument(help="label store to write; the same call goes on after a kill")],
    teacher: Annotated[str, typer.Option(help=TEACHERS)] = "server",
    model: Annotated[str, typer.Option(help="model of a server, of batch files, or a local folder")] = "",
    base_url: Annotated[
        str | None, typer.Option(help="server; default OPENAI_BASE_URL. The key: OPENAI_API_KEY")
    ] = None,
    kind: Annotated[str, typer.Option(help="auto, world, bench2drive, nuscenes, nuscenes-info")] = "auto",
    prompts: Annotated[str, typer.Option(help="prompt family, or a folder of your own; default: the teacher's")] = "",
    view: Annotated[str, typer.Option(help="front or montage for the risk question; default: the prompt's")] = "",
    task: Annotated[list[str] | None, typer.Option(help="risk and/or action; default both")] = None,
    samples: Annotated[int, typer.Option(min=1, help="answers to the risk question per frame")] = 3,
    choices: Annotated[
        int, typer.Option(min=1, help="samples that one request to a server may ask for; 1 = each by itself")
    ] = 8,
    red_line: Annotated[bool, typer.Option(help="show the ego's future as a red line (biases the teacher)")] = False,
    detector: Annotated[str, typer.Option(help="ground with this zero-shot detector of transformers")] = "",
    temperature: Annotated[float, typer.Option(min=0.0)] = 0.7,
    structure: Annotated[
        str, typer.Option(help="json_schema, json_object or none: what the server knows")
    ] = "json_schema",
    timeout: Annotated[float, typer.Option(min=1.0, help="s for one answer")] = 180.0,
    patience: Annotated[float, typer.Option(min=1.0, help="s without any answer until the run stops")] = 7200.0,
    concurrency: Annotated[int, typer.Option(min=1, help="requests in flight at most")] = 64,
    price_in: Annotated[float, typer.Option(min=0.0, help="US$ per million prompt tokens")] = 0.0,
    price_out: Annotated[float, typer.Option(min=0.0, help="US$ per million answer tokens")] = 0.0,
    budget: Annotated[float | None, typer.Option(min=0.0, help="US$ that this call may spend")] = None,
    dry_run: Annotated[bool, typer.Option(help="only estimate requests, tokens and cost")] = False,
    retry_failed: Annotated[bool, typer.Option(help="ask anew for frames that failed before")] = False,
    limit: Annotated[int, typer.Option(min=0, help="only the first frames; 0 = all")] = 0,
    shard_frames: Annotated[int, typer.Option(min=1, help="frames per Parquet shard")] = 128,
    engine: Annotated[str, typer.Option(help="local or ray")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="with ray: shards under way at once")] = 2,
    ray_address: Annotated[str | None, typer.Option(help="Ray cluster; default: one started here")] = None,
    text_encoder: Annotated[
        str, typer.Option(help="embed reasons and actions for training with this CLIP (folder or name on the hub)")
    ] = "",
    batch_folder: Annotated[Path | None, typer.Option(help="of requests and results/; default OUT/batch")] = None,
    omissions: Annotated[float, typer.Option(help="privileged: share of objects left out")] = 0.0,
    misranking: Annotated[float, typer.Option(help="privileged: share of risks swapped")] = 0.0,
    inventions: Annotated[float, typer.Option(help="privileged: invented objects per answer")] = 0.0,
) -> None:
    """Label every key frame: risk per object, reasons and actions, a dense risk map. Stop and start at any moment."""
    dial = (omissions, misranking, inventions)
    _label(SimpleNamespace(**(locals() | {"batch_folder": batch_folder or out / "batch"})))


def _label(call: SimpleNamespace) -> None:
    from rsd_offline.datasets.frames import FrameSourceError
    from rsd_offline.labeling.answer_cache import StorageFullError
    from rsd_offline.labeling.prompts import PromptError
    from rsd_offline.labeling.run import OtherRunError
    from rsd_offline.labeling.store import LabelStoreError

    foreseen = (
        FrameSourceError,
        PromptError,
        OtherRunError,
        LabelStoreError,
        StorageFullError,
        ImportError,
        ValueError,
        OSError,
    )
    try:
        _make_and_run(call)
    except foreseen as error:
        typer.secho(f"rsd label: {error}", fg="red", err=True)
        raise typer.Exit(2) from None


def _make_and_run(call: SimpleNamespace) -> None:
    from rsd_offline.datasets.sources import open_frames
    from rsd_offline.datasets.subset import FirstFrames
    from rsd_offline.labeling.run import LabelRun, claim_folder
    from rsd_offline.labeling.teachers.choose import TeacherOptions, make_teacher

    if call.engine not in ("local", "ray"):
        raise ValueError(f"engine {call.engine!r} is unknown; choose local or ray")
    if call.teacher == "batch" and call.budget is not None:
        raise ValueError("--budget cannot stop batch files, which are paid for where they are handed in: see --dry-run")
    options = TeacherOptions(
        call.teacher, call.model, call.base_url, call.temperature, call.structure, call.timeout, call.batch_folder,
        call.dataset / "labels", call.dial, call.choices,
    )  # fmt: skip

    def make_source() -> FrameSource:
        source = open_frames(call.dataset, call.kind)
        return FirstFrames(source, call.limit) if call.limit else source

    teacher = make_teacher(options)
    config, run_config = _configs(call, teacher)
    run = LabelRun(make_source(), call.out, teacher, config, run_config, _detector(call.detector))
    if call.dry_run:
        _print_estimate(run)
        return
    encoder = _text_encoder(call.text_encoder)  # before anything is asked: it may be missing
    prices = {"prompt": call.price_in, "completion": call.price_out}
    about = {"path": str(call.dataset.resolve()), "kind": call.kind, "limit": call.limit, "prices": prices}
    claim_folder(call.out, run.identity, about)
    if call.teacher == "batch" and teacher.results:
        typer.echo("results read: " + ", ".join(f"{n} {what}" for what, n in teacher.results.items()))
    if call.engine == "ray":
        _run_with_ray(run, make_source, options, call.workers, call.ray_address)
    else:
        _print_end(_run_here(run), teacher)
    if encoder is not None:
        _embed(call.out, encoder)


def _configs(call: SimpleNamespace, teacher: Teacher):
    """What is asked, and how the run goes."""
    from rsd_offline.labeling.asking import AskingConfig
    from rsd_offline.labeling.costs import Prices
    from rsd_offline.labeling.labeler import LabelConfig
    from rsd_offline.labeling.run import RunConfig

    everything = call.teacher in ("geometric", "privileged")  # they know of all there is
    config = LabelConfig(
        prompts=call.prompts or teacher.family, tasks=tuple(call.task or ("risk", "action")), view=call.view,
        samples=call.samples, red_line=call.red_line, judged="all" if everything else "objects",
    )  # fmt: skip
    return config, RunConfig(
        concurrency=call.concurrency, shard_frames=call.shard_frames, prices=Prices(call.price_in, call.price_out),
        budget=call.budget, asking=AskingConfig(patience=call.patience, retry_refused=call.retry_failed),
    )  # fmt: skip


def _detector(name: str):
    if not name:
        return None
    from rsd_offline.labeling.detection import ZeroShotDetector

    return ZeroShotDetector(name)


def _text_encoder(name: str):
    if not name:
        return None
    from rsd_offline.labeling.text_embeddings import ClipTextEncoder

    return ClipTextEncoder(name)


def _embed(out: Path, encoder: TextEncoder) -> None:
    from rsd_offline.commands.labels import embed_texts
    from rsd_offline.labeling.text_embeddings import store_texts

    embed_texts(out, encoder, store_texts(out))


def _run_here(run: LabelRun) -> RunProgress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[text]}")) as bar:
        task = bar.add_task("frames", total=len(run.source), text="")

        def show(progress: RunProgress) -> None:
            counts = progress.counts
            tokens = counts.prompt_tokens + counts.completion_tokens
            parts = [f"{counts.answers} answers, {progress.in_flight}/{progress.limit} in flight"]
            parts += [f"{counts.cached} known"] if counts.cached else []
            parts += [f"{tokens / 1e6:.2f} M tokens"] if tokens else []
            parts += [f"{progress.cost:.2f} US$"] if progress.cost else []
            parts += [f"{n} x {reason}" for reason, n in counts.failures.most_common(2)]
            text = ", ".join(parts)
            bar.update(task, completed=progress.labelled, text=text)

        run.on_progress = show
        return asyncio.run(run.run())


def _run_with_ray(run: LabelRun, make_source, options, workers: int, address: str | None) -> None:
    from rsd_offline.labeling.engine_ray import ShardJob, label_with_ray
    from rsd_offline.labeling.teachers.choose import make_teacher

    job = ShardJob(make_source, lambda: make_teacher(options), run.out.resolve(), run.config, run.run_config)
    missing = [shard for shard in run.shards() if not run.is_done(shard)]
    rows = label_with_ray(job, missing, workers, address)
    stopped = [row["stopped"] for row in rows if row["stopped"]]
    typer.echo(
        f"{sum(r['labelled'] for r in rows)} frames labelled in {len(rows)} shards, "
        f"{sum(r['answers'] for r in rows)} answers"
    )
    if stopped:
        typer.secho(f"stopped: {stopped[0]}", fg="yellow", err=True)
        raise typer.Exit(3)


def _print_estimate(run: LabelRun) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from rsd_offline.labeling.estimate import estimate_run
    from rsd_offline.labeling.labeler import FrameLabeler

    class Unasked:
        teacher = run.teacher

    labeler = FrameLabeler(run.source, Unasked(), run.config, ThreadPoolExecutor(1), run._detector)  # type: ignore[arg-type]
    done = sum(len(run.shard_indices(s)) for s in run.shards() if run.is_done(s))
    samples = run.config.samples if run.teacher.samples else 1
    found = estimate_run(labeler, len(run.source), run.run_config.prices, samples, run.teacher.choices)
    dearer = found.cost_singly > found.cost
    singly = f" ({found.cost_singly:.2f} if the server gives one answer to a request)" if dearer else ""
    typer.echo(
        f"{found.frames} frames ({done} already labelled), {found.objects_per_frame:.1f} objects a frame\n"
        f"about {found.requests:,} requests, {found.prompt_tokens:,} prompt tokens, {found.completion_tokens:,} answer "
        f"tokens, {found.cost:.2f} US${singly} (from {found.looked_at} frames, {found.unreadable} of them "
        "unreadable; nothing was asked)"
    )


def _print_end(progress: RunProgress, teacher: Teacher) -> None:
    counts = progress.counts
    typer.echo(
        f"{progress.labelled}/{progress.frames} frames labelled ({progress.failed} failed), {counts.answers} answers "
        f"to {counts.requests} requests, {counts.cached} known, {counts.prompt_tokens:,} + "
        f"{counts.completion_tokens:,} tokens, {progress.cost:.4f} US$"
    )
    if progress.failed:
        (reason, most), *_ = progress.why_failed.most_common(1)
        typer.secho(f"failed frames have no label; why, most often ({most}): {reason}", fg="yellow", err=True)
    if counts.why_singly:
        typer.echo(f"samples were asked for one by one: the server {counts.why_singly} when asked for several")
    if counts.failures:
        typer.echo("requests without an answer: " + ", ".join(f"{k} {n}" for k, n in counts.failures.most_common()))
    if progress.pending:
        new = getattr(teacher, "new", 0)
        typer.echo(
            f"{progress.pending} frames wait for batch results; {new} new requests written. "
            "Hand the files in, put the results into results/, and run again"
        )
    if progress.stopped:
        typer.secho(f"stopped: {progress.stopped}", fg="yellow", err=True)
        raise typer.Exit(3)
