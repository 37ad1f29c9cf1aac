"""A labelling run: shard by shard, many frames under way, stopped and resumed at any moment."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from rsd_offline.datasets.frames import FrameSource
from rsd_offline.labeling.answer_cache import AnswerCache
from rsd_offline.labeling.asking import Asker, AskingConfig, RunCounts, RunStoppedError
from rsd_offline.labeling.costs import Prices, Purse
from rsd_offline.labeling.detection import Detector
from rsd_offline.labeling.labeler import FrameLabeler, FrameLabels, LabelConfig, config_fields
from rsd_offline.labeling.store import FinishedShard, LabelStoreError, delete_shard, finished_shard, write_shard
from rsd_offline.labeling.teachers.base import AnswerPendingError, Teacher
from rsd_offline.labeling.throttle import Throttle


@dataclass(frozen=True)
class RunConfig:
    """How a run goes, whatever it asks."""

    concurrency: int = 64  # requests in flight at most
    shard_frames: int = 128
    threads: int = min(4, os.cpu_count() or 1)  # that read, ground and encode frames
    first_pause: float = 1.0  # s after a first failure
    prices: Prices = field(default_factory=Prices)
    budget: float | None = None  # US dollars of this call
    asking: AskingConfig = field(default_factory=AskingConfig)
    shared_cache: bool = False  # other machines write into the output folder too
    writer: str = "answers"  # name of this process' cache file


@dataclass
class RunProgress:
    """Where a run is; handed to the progress bar."""

    frames: int  # of the dataset
    labelled: int = 0  # with those of earlier runs
    pending: int = 0  # frames whose questions wait in batch files
    failed: int = 0  # of these, without all labels or the action's
    why_failed: Counter = field(default_factory=Counter)  # reason without its details -> frames
    examples: dict[str, str] = field(default_factory=dict)  # reason without its details -> one with them
    stopped: str | None = None
    counts: RunCounts = field(default_factory=RunCounts)
    cost: float = 0.0
    in_flight: int = 0
    limit: int = 0

    def add_failure(self, reason: str) -> None:
        """Count a frame that lacks something; what follows a colon is its own."""
        kind = reason.partition(": ")[0]
        self.failed += 1
        self.why_failed[kind] += 1
        self.examples.setdefault(kind, reason)


class OtherRunError(ValueError):
    """The output folder holds labels of another teacher or configuration."""


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"part-{number:05d}"


def run_identity(
    source_name: str, teacher: Teacher, config: LabelConfig, shard_frames: int, detector: str = ""
) -> dict[str, str]:
    """Everything that decides a run's labels, as file metadata; `run` is the hash of it all."""
    prompts = {task: prompt.hash for task, prompt in config.load_prompts().items()}
    identity = {
        "model": teacher.identity.model,
        "parameters": json.dumps(teacher.identity.parameters, sort_keys=True),
        "prompt_family": config.prompts,
        "prompt_hash": json.dumps(prompts, sort_keys=True),
        "detector": detector,
        "config": json.dumps(config_fields(config) | {"shard_frames": shard_frames}, sort_keys=True),
        "dataset": source_name,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return identity | {"run": digest}


def claim_folder(out: Path, identity: dict[str, str], about: dict) -> None:
    """Write run.json, or check that the folder's is the same run. Raises OtherRunError, LabelStoreError.

    What `about` knows anew (a place, prices) replaces what was known; what it leaves empty stays.
    """
    path, known = out / "run.json", {}
    if path.is_file():
        try:
            known = json.loads(path.read_text())
        except ValueError as error:
            raise LabelStoreError(f"{path} is damaged ({error}): choose another folder, or delete it") from error
        changed = _differences(known.get("identity", {}), identity)
        if changed:
            raise OtherRunError(
                f"{out} holds labels of another run ({'; '.join(changed)}): choose another folder, or delete it"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(known | {"identity": identity} | {k: v for k, v in about.items() if v}, indent=1))
        os.replace(partial, path)
    except OSError as error:
        raise LabelStoreError(f"labels cannot be written to {out} ({error}): choose another folder") from error


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold a label store for this process; a kill gives it back. Raises OtherRunError where another one holds it."""
    with (out / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OtherRunError(
                f"another run is writing to {out}: wait for its end, or choose another folder"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield


def _differences(there: dict[str, str], here: dict[str, str]) -> list[str]:
    """What differs between two identities: names, and for the configuration each value then and now."""
    found = [k for k, v in here.items() if there.get(k) != v and k not in ("run", "config")]
    found = [f"{k} was {there.get(k)}, is {here[k]}" for k in sorted(found)]
    then, now = (json.loads(identity.get("config", "{}")) for identity in (there, here))
    return found + [f"{k} was {then.get(k)}, is {now[k]}" for k in sorted(now) if then.get(k) != now[k]]


class LabelRun:
    """Labels the frames of a dataset that have no labels yet."""

    def __init__(
        self, source: FrameSource, out: Path, teacher: Teacher, config: LabelConfig, run: RunConfig,
        detector: Detector | None = None, on_progress: Callable[[RunProgress], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.source, self.out, self.teacher, self.config, self.run_config = source, out, teacher, config, run
        self._detector, self.on_progress = detector, on_progress
        name = "" if detector is None else detector.name
        self.identity = run_identity(source.name, teacher, config, run.shard_frames, name)
        self.progress = RunProgress(frames=len(source))

    def shards(self) -> list[int]:
        """Numbers of all shards."""
        return list(range(-(-len(self.source) // self.run_config.shard_frames)))

    def shard_indices(self, shard: int) -> range:
        """Frames of a shard."""
        size = self.run_config.shard_frames
        return range(shard * size, min((shard + 1) * size, len(self.source)))

    def missing_shards(self, shards: Sequence[int] | None = None) -> list[int]:
        """Those of all shards, or of the given ones, that are to be written; the others count as progress."""
        missing = []
        for shard in self.shards() if shards is None else shards:
            done = self.finished(shard)
            if done is None:
                missing.append(shard)
                continue
            self.progress.labelled += len(self.shard_indices(shard))
            for reason in done.failures:
                self.progress.add_failure(reason)
        return missing

    def finished(self, shard: int) -> FinishedShard | None:
        """The shard as this very run left it; None where it is still to be written, or to be written anew."""
        found, wanted = finished_shard(self.out, shard_name(shard)), self._frame_ids(shard)
        if found is None or found.teacher.get("run") != self.identity["run"]:
            return None
        if found.frame_ids[: len(wanted)] != wanted:  # the dataset has grown or changed
            return None
        if len(found.frame_ids) > len(wanted):  # a limit is set now: writing the shard anew would drop frames
            return found
        return None if self.run_config.asking.retry_refused and found.failures else found

    def drop_leftovers(self) -> None:
        """Delete shards behind the last one where frames have moved to other shards, as the dataset has changed."""
        names = (path.name.split(".")[0] for path in self.out.glob("part-*.frames.parquet"))
        beyond = [name for name in names if name not in map(shard_name, self.shards())]
        if beyond and any(map(self._has_moved, self.shards())):
            for name in beyond:
                delete_shard(self.out, name)

    def _has_moved(self, shard: int) -> bool:
        found, wanted = finished_shard(self.out, shard_name(shard)), self._frame_ids(shard)
        return found is not None and any(a != b for a, b in zip(found.frame_ids, wanted, strict=False))

    def _frame_ids(self, shard: int) -> tuple[str, ...]:
        return tuple(self.source.frame_id(index) for index in self.shard_indices(shard))

    async def run(self, shards: Sequence[int] | None = None) -> RunProgress:
        """Label all shards, or the given ones, that are not done. What stopped the run is in the result."""
        if shards is None:
            self.drop_leftovers()
        cache = AnswerCache(self.out / "answers", self.run_config.writer, self.run_config.shared_cache)
        # Frames are worked on side by side: threads within one picture would only get into each other's way.
        executor = ThreadPoolExecutor(self.run_config.threads, "rsd-label", cv2.setNumThreads, (1,))
        throttle = Throttle(self.run_config.concurrency, self.run_config.first_pause)
        purse = Purse(self.run_config.prices, self.run_config.budget)
        asker = Asker(self.teacher, cache, throttle, purse, self.run_config.asking)
        labeler = FrameLabeler(self.source, asker, self.config, executor, self._detector)
        try:
            await self._all(self.missing_shards(shards), labeler, asker)
        finally:
            await self.teacher.close()
            cache.close()
            executor.shutdown(wait=False, cancel_futures=True)
        self._report(asker)
        return self.progress

    async def _all(self, shards: Sequence[int], labeler: FrameLabeler, asker: Asker) -> None:
        window = asyncio.Semaphore(self._frames_in_flight())
        open_shards: set[asyncio.Task] = set()
        for shard in shards:
            tasks = []
            for index in self.shard_indices(shard):
                await window.acquire()
                if asker.stopped:
                    window.release()
                    break
                tasks.append(asyncio.create_task(self._one(index, labeler, asker, window)))
            closing = asyncio.create_task(self._close(shard, tasks, asker))
            open_shards.add(closing)
            closing.add_done_callback(open_shards.discard)
            if asker.stopped:
                break
        await asyncio.gather(*open_shards)

    def _frames_in_flight(self) -> int:
        samples = self.config.samples if self.teacher.samples else 1
        per_frame = -(-samples // self.teacher.choices) + len(self.config.tasks) - 1
        return 4 + -(-3 * self.run_config.concurrency // (2 * per_frame))

    async def _one(
        self, index: int, labeler: FrameLabeler, asker: Asker, window: asyncio.Semaphore
    ) -> FrameLabels | BaseException:
        try:
            labels = await labeler.label(index)
            self.progress.labelled += 1
            if labels.audit.failure:
                self.progress.add_failure(labels.audit.failure)
            return labels
        except AnswerPendingError as error:
            self.progress.pending += 1
            return error
        except RunStoppedError as error:
            return error
        except Exception as error:
            asker.stop(f"frame {self.source.frame_id(index)}: {error!r}")
            return error
        finally:
            window.release()
            self._report(asker)

    async def _close(self, shard: int, tasks: list[asyncio.Task], asker: Asker) -> None:
        """Write a shard once all its frames are labelled."""
        results = await asyncio.gather(*tasks)
        labels = [r for r in results if isinstance(r, FrameLabels)]
        if len(labels) < len(self.shard_indices(shard)):
            expected = (AnswerPendingError, RunStoppedError, FrameLabels)
            failed = next((r for r in results if not isinstance(r, expected)), None)
            if failed is not None:
                raise failed
            return
        try:
            await asyncio.to_thread(self._write, shard, labels)
        except OSError as error:
            asker.stop(f"shard {shard_name(shard)} cannot be written ({error}): make room and run again")

    def _write(self, shard: int, labels: list[FrameLabels]) -> None:
        write_shard(
            self.out, shard_name(shard), [r.frame for r in labels], [o for r in labels for o in r.objects],
            self.identity, [r.audit for r in labels], [r.risk_map for r in labels],
        )  # fmt: skip

    def _report(self, asker: Asker) -> None:
        progress = self.progress
        progress.counts, progress.stopped, progress.cost = asker.counts, asker.stopped, asker.purse.spent
        progress.in_flight, progress.limit = asker.throttle.in_flight, asker.throttle.limit
        with suppress(BrokenPipeError):
            self.on_progress(progress)
