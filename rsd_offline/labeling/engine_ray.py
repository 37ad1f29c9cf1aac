"""The same labelling on many machines: Ray Data hands out shards; cache and result are those of a single machine.

Every machine must see the dataset and the output folder under the same paths. The shard of a worker that dies is done
again by another, which finds the answers of the first one in the shared cache.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rsd_offline.datasets.frames import FrameSource
from rsd_offline.labeling.detection import Detector
from rsd_offline.labeling.labeler import LabelConfig
from rsd_offline.labeling.run import LabelRun, RunConfig, RunProgress
from rsd_offline.labeling.teachers.base import Teacher


@dataclass(frozen=True)
class ShardJob:
    """What a worker needs; the makers are called there, so that no connection or model travels."""

    make_source: Callable[[], FrameSource]
    make_teacher: Callable[[], Teacher]
    out: Path
    config: LabelConfig
    run: RunConfig
    make_detector: Callable[[], Detector | None] = lambda: None

    def label(self, shard: int) -> dict:
        """Label one shard; what happened as plain values."""
        writer = f"{socket.gethostname()}-{os.getpid()}"
        config = replace(self.run, shared_cache=True, writer=writer)
        teacher, detector = self.make_teacher(), self.make_detector()
        run = LabelRun(self.make_source(), self.out, teacher, self.config, config, detector)
        progress = asyncio.run(run.run([shard]))
        counts = progress.counts
        return {
            "shard": shard, "labelled": progress.labelled, "failed": progress.failed, "stopped": progress.stopped or "",
            "why_failed": json.dumps(progress.why_failed), "examples": json.dumps(progress.examples),
            "failures": json.dumps(counts.failures),
            "answers": counts.answers, "requests": counts.requests, "cached": counts.cached,
            "prompt_tokens": counts.prompt_tokens, "completion_tokens": counts.completion_tokens, "cost": progress.cost,
        }  # fmt: skip


def sum_up(rows: Sequence[dict], total: RunProgress) -> RunProgress:
    """Add the summaries of shards to the progress of the run that they are of."""
    for row in rows:
        total.labelled += row["labelled"]
        total.failed += row["failed"]
        total.cost += row["cost"]
        total.stopped = total.stopped or row["stopped"] or None
        total.why_failed.update(json.loads(row["why_failed"]))
        total.examples |= json.loads(row["examples"])
        total.counts.failures.update(json.loads(row["failures"]))
        for name in ("answers", "requests", "cached", "prompt_tokens", "completion_tokens"):
            setattr(total.counts, name, getattr(total.counts, name) + row[name])
    return total


def label_with_ray(job: ShardJob, shards: list[int], workers: int, address: str | None = None) -> list[dict]:
    """Label shards on a Ray cluster (`address`), or on one started here; a summary per shard.

    `workers` tasks run at once and share the concurrency of `job.run`; shards share its budget evenly.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("labelling across machines needs ray: pip install '.[cluster]'") from error
    if not shards:
        return []
    budget = None if job.run.budget is None else job.run.budget / len(shards)
    share = replace(job.run, concurrency=max(1, job.run.concurrency // workers), budget=budget)
    job = replace(job, run=share)
    own = not ray.is_initialized()
    if own:
        ray.init(address=address, num_cpus=None if address else workers, include_dashboard=False, log_to_driver=False)
    try:
        rows = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        # A task whose worker died is given to another worker by Ray itself; exceptions are not retried.
        done = rows.map(lambda row: job.label(row["shard"]), compute=ray.data.TaskPoolStrategy(size=workers))
        return sorted(done.take_all(), key=lambda row: row["shard"])
    finally:
        if own:
            ray.shutdown()
