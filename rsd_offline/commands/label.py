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
    from rsd_offline.labeling.teachers.choose import TeacherOptions
    from rsd_offline.labeling.text_embeddings import TextEncoder

TEACHERS = "server, local, batch, geometric, random, constant, privileged"
STOPPED = 3  # exit code of a run that can go on; 2 = it could not begin
ASK, COST, RUN, CLUSTER, SPOIL = "What is asked", "Cost", "How the run goes", "Several machines", "Privileged teacher"


def _option(*names: str, help: str, panel: str | None = None, **limits: float):
    return typer.Option(*names, help=help, rich_help_panel=panel, **limits)


def label(
    dataset: Annotated[
        Path, typer.Argument(help="embedded-world drives, Bench2Drive clips, nuScenes, or an info JSON")
    ],
    out: Annotated[Path, typer.Argument(help="label store to write; the same call goes on after a kill")],
    teacher: Annotated[str, _option(help=TEACHERS)] = "server",
    model: Annotated[str, _option(help="model of a server, of batch files, or a local folder")] = "",
    base_url: Annotated[
        str | None, _option(help="server; default OPENAI_BASE_URL. Its key, if it wants one: OPENAI_API_KEY")
    ] = None,
    kind: Annotated[str, _option(help="of dataset: auto, world, bench2drive, nuscenes, nuscenes-info")] = "auto",
    limit: Annotated[int, _option(help="only the first frames; 0 = all. It may be raised later", min=0)] = 0,
    dry_run: Annotated[bool, _option("--dry-run", help="only estimate requests, tokens and cost")] = False,
    task: Annotated[list[str] | None, _option(help="risk and/or action; default both", panel=ASK)] = None,
    samples: Annotated[int, _option(help="answers to the risk question per frame", panel=ASK, min=1)] = 3,
    max_diff_risk: Annotated[
        float, _option(help="frames whose samples disagree more are gated", panel=ASK, min=0.0, max=1.0)
    ] = 0.35,
    prompts: Annotated[
        str, _option(help="prompt family, or a folder of your own; default: the teacher's", panel=ASK)
    ] = "",
    view: Annotated[str, _option(help="front or montage for the risk question; default: the prompt's", panel=ASK)] = "",
    red_line: Annotated[
        bool, _option("--red-line", help="show the ego's future as a red line (biases the teacher)", panel=ASK)
    ] = False,
    detector: Annotated[
        str, _option(help="ground with this zero-shot detector of transformers, not with annotations", panel=ASK)
    ] = "",
    temperature: Annotated[float, _option(help="of the answers; samples differ by it", panel=ASK, min=0.0)] = 0.7,
    structure: Annotated[
        str, _option(help="json_schema, json_object or none: what the server knows", panel=ASK)
    ] = "json_schema",
    token_limit: Annotated[
        str, _option(help="max_completion_tokens or max_tokens: what the server calls it", panel=ASK)
    ] = "max_completion_tokens",
    choices: Annotated[
        int, _option(help="samples that one request to a server may ask for; 1 = each by itself", panel=ASK, min=1)
    ] = 8,
    price_in: Annotated[float, _option(help="US$ per million prompt tokens", panel=COST, min=0.0)] = 0.0,
    price_out: Annotated[float, _option(help="US$ per million answer tokens", panel=COST, min=0.0)] = 0.0,
    budget: Annotated[float | None, _option(help="US$ that this call may spend", panel=COST, min=0.0)] = None,
    concurrency: Annotated[int, _option(help="requests in flight at most", panel=RUN, min=1)] = 64,
    timeout: Annotated[float, _option(help="s for one answer", panel=RUN, min=1.0)] = 180.0,
    patience: Annotated[float, _option(help="s without any answer until the run stops", panel=RUN, min=1.0)] = 7200.0,
    retry_failed: Annotated[
        bool, _option("--retry-failed", help="ask anew for frames that failed before", panel=RUN)
    ] = False,
    shard_frames: Annotated[int, _option(help="frames per Parquet shard", panel=RUN, min=1)] = 128,
    batch_folder: Annotated[
        Path | None, _option(help="of batch requests and results/; default OUT/batch", panel=RUN)
    ] = None,
    text_encoder: Annotated[
        str,
        _option(help="embed reasons and actions for training with this CLIP (folder or name on the hub)", panel=RUN),
    ] = "",
    engine: Annotated[str, _option(help="local or ray", panel=CLUSTER)] = "local",
    workers: Annotated[int, _option(help="shards under way at once", panel=CLUSTER, min=1)] = 2,
    ray_address: Annotated[str | None, _option(help="Ray cluster; default: one started here", panel=CLUSTER)] = None,
    omissions: Annotated[float, _option(help="share of objects left out", panel=SPOIL)] = 0.0,
    misranking: Annotated[float, _option(help="share of risks swapped", panel=SPOIL)] = 0.0,
    inventions: Annotated[float, _option(help="invented objects per answer", panel=SPOIL)] = 0.0,
) -> None:
    """Label every key frame: risk per object, reasons and actions, a dense risk map.

    Stop and start at any moment: the same call goes on where it was. Exit code 0: all frames are labelled or wait for
    batch results; 2: the run could not begin; 3: it was stopped (budget, server, disk) and can go on.

    \b
    vllm serve Qwen/Qwen2.5-VL-7B-Instruct
    rsd label DRIVES OUT --model Qwen/Qwen2.5-VL-7B-Instruct --base-url http://localhost:8000/v1 --prompts qwen2_5_vl

    \b
    ollama pull qwen2.5vl:7b
    rsd label DRIVES OUT --model qwen2.5vl:7b --base-url http://localhost:11434/v1 --token-limit max_tokens

    \b
    rsd label DRIVES OUT --teacher geometric
    """
    dial = (omissions, misranking, inventions)
    _label(SimpleNamespace(**(locals() | {"batch_folder": batch_folder or out / "batch"})))


def _label(call: SimpleNamespace) -> None:
    try:
        _make_and_run(call)
    except KeyboardInterrupt:
        typer.secho(
            "\nstopped by you: what was answered is kept, the same call goes on from there", fg="yellow", err=True
        )
        raise typer.Exit(STOPPED) from None
    except (ImportError, ValueError, OSError) as error:  # those of datasets, prompts and stores are ValueErrors
        typer.secho(f"rsd label: {error}", fg="red", err=True)
        raise typer.Exit(2) from None


def _make_and_run(call: SimpleNamespace) -> None:
    from rsd_offline.labeling.run import LabelRun, claim_folder, only_writer
    from rsd_offline.labeling.teachers.choose import make_teacher

    if call.engine not in ("local", "ray"):
        raise ValueError(f"engine {call.engine!r} is unknown; choose local or ray")
    if call.teacher == "batch" and call.budget is not None:
        raise ValueError("--budget cannot stop batch files, which are paid for where they are handed in: see --dry-run")
    source = _open(call)
    teacher = make_teacher(_teacher_options(call))
    config, run_config = _configs(call, teacher)
    run = LabelRun(source, call.out, teacher, config, run_config, _detector(call.detector))
    if call.dry_run:
        _print_estimate(run)
        return
    encoder = _text_encoder(call.text_encoder)  # before anything is asked: it may be missing
    prices = {"prompt": call.price_in, "completion": call.price_out} if call.price_in or call.price_out else {}
    about = {"path": str(call.dataset.resolve()), "kind": call.kind, "prices": prices}
    claim_folder(call.out, run.identity, about)
    with only_writer(call.out):
        if call.teacher == "batch" and teacher.results:
            typer.echo("results read: " + ", ".join(f"{n} {what}" for what, n in teacher.results.items()))
        _print_end(_run_with_ray(run, call) if call.engine == "ray" else _run_here(run), teacher)
        if encoder is not None:
            _embed(call.out, encoder)


def _open(call: SimpleNamespace) -> FrameSource:
    from rsd_offline.datasets.sources import open_frames
    from rsd_offline.datasets.subset import FirstFrames

    source = open_frames(call.dataset, call.kind)
    return FirstFrames(source, call.limit) if call.limit else source


def _teacher_options(call: SimpleNamespace) -> TeacherOptions:
    from rsd_offline.labeling.teachers.choose import TeacherOptions

    return TeacherOptions(
        call.teacher, call.model, call.base_url, call.temperature, call.structure, call.timeout, call.batch_folder,
        call.dataset / "labels", call.dial, call.choices, call.token_limit,
    )  # fmt: skip


def _configs(call: SimpleNamespace, teacher: Teacher):
    """What is asked, and how the run goes."""
    from rsd_offline.labeling.asking import AskingConfig
    from rsd_offline.labeling.costs import Prices, Purse
    from rsd_offline.labeling.labeler import LabelConfig
    from rsd_offline.labeling.run import RunConfig

    everything = call.teacher in ("geometric", "privileged")  # they know of all there is
    config = LabelConfig(
        prompts=call.prompts or teacher.family, tasks=tuple(call.task or ("risk", "action")), view=call.view,
        samples=call.samples, red_line=call.red_line, max_diff_risk=call.max_diff_risk,
        judged="all" if everything else "objects",
    )  # fmt: skip
    prices = Prices(call.price_in, call.price_out)
    Purse(prices, call.budget)  # a budget without prices is refused before the folder is made
    return config, RunConfig(
        concurrency=call.concurrency, shard_frames=call.shard_frames, prices=prices,
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


def _run_with_ray(run: LabelRun, call: SimpleNamespace) -> RunProgress:
    from rsd_offline.labeling.engine_ray import ShardJob, label_with_ray, sum_up
    from rsd_offline.labeling.teachers.choose import make_teacher

    # Workers have folders of their own to be in.
    call = SimpleNamespace(
        **vars(call) | {"dataset": call.dataset.resolve(), "batch_folder": call.batch_folder.resolve()}
    )
    options, detector = _teacher_options(call), call.detector
    run.drop_leftovers()
    job = ShardJob(
        lambda: _open(call), lambda: make_teacher(options), run.out.resolve(), run.config, run.run_config,
        lambda: _detector(detector),
    )  # fmt: skip
    return sum_up(label_with_ray(job, run.missing_shards(), call.workers, call.ray_address), run.progress)


def _print_estimate(run: LabelRun) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from rsd_offline.labeling.estimate import estimate_run
    from rsd_offline.labeling.labeler import FrameLabeler

    class Unasked:
        teacher = run.teacher

    labeler = FrameLabeler(run.source, Unasked(), run.config, ThreadPoolExecutor(1), run._detector)  # type: ignore[arg-type]
    run.missing_shards()
    samples = run.config.samples if run.teacher.samples else 1
    found = estimate_run(labeler, len(run.source), run.run_config.prices, samples, run.teacher.choices)
    dearer = found.cost_singly > found.cost
    singly = f" ({found.cost_singly:.2f} if the server gives one answer to a request)" if dearer else ""
    typer.echo(
        f"{found.frames} frames ({run.progress.labelled} known), {found.objects_per_frame:.1f} objects each\n"
        f"about {found.requests:,} requests, {found.prompt_tokens:,} prompt tokens, {found.completion_tokens:,} answer "
        f"tokens, {found.cost:.2f} US${singly} (from {found.looked_at} frames, {found.unreadable} of them "
        "unreadable; pictures counted as Qwen2.5-VL counts them; nothing was asked)"
    )


def _print_end(progress: RunProgress, teacher: Teacher) -> None:
    counts = progress.counts
    typer.echo(
        f"{progress.labelled}/{progress.frames} frames labelled ({progress.failed} incomplete), "
        f"{counts.answers} answers to {counts.requests} requests, {counts.cached} known, {counts.prompt_tokens:,} + "
        f"{counts.completion_tokens:,} tokens, {progress.cost:.4f} US$"
    )
    if progress.failed:
        reasons = ", ".join(f"{n} {kind}" for kind, n in progress.why_failed.most_common(5))
        example = progress.examples[progress.why_failed.most_common(1)[0][0]]
        typer.secho(
            f"incomplete frames lack risks or actions: {reasons} (such as: {example}); --retry-failed asks anew",
            fg="yellow", err=True,
        )  # fmt: skip
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
        raise typer.Exit(STOPPED)
