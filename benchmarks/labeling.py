"""What labelling costs on our side: rate against a slow server, memory over many frames, work per frame.

    python benchmarks/labeling.py --part work      CPU ms per frame beside making pictures, with and without the client
    python benchmarks/labeling.py --part rate      share of a 2 s server's possible rate at concurrency 256
    python benchmarks/labeling.py --part memory    resident memory over many frames
    python benchmarks/labeling.py --part pictures  CPU ms per frame of decoding six JPEGs and encoding what is sent

Results go to benchmarks/results/labeling.json with the hardware's name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from labeling_stand_ins import OBJECTS, SAMPLES, AtOnce, SyntheticFrames, photographs, running_server  # noqa: E402

from rsd_offline.datasets.episode_store import decode_image  # noqa: E402
from rsd_offline.labeling import labeler  # noqa: E402
from rsd_offline.labeling.grounding import ground_annotations  # noqa: E402
from rsd_offline.labeling.labeler import LabelConfig  # noqa: E402
from rsd_offline.labeling.questions import make_pictures  # noqa: E402
from rsd_offline.labeling.run import LabelRun, RunConfig, RunProgress  # noqa: E402
from rsd_offline.labeling.teachers.base import Teacher  # noqa: E402
from rsd_offline.labeling.teachers.controls import ControlTeacher  # noqa: E402
from rsd_offline.labeling.teachers.openai_server import OpenAIServer, ServerConfig  # noqa: E402


def measure_rate(frames: int, concurrency: int, delay: float, width: int) -> dict:
    """Answers per second of a whole run, against concurrency / delay."""
    with running_server(delay) as url, tempfile.TemporaryDirectory() as folder:
        teacher = OpenAIServer(ServerConfig("m", url, choices=1))  # the most requests for as many answers
        config = LabelConfig(tasks=("risk",), reasks=0)
        run = LabelRun(
            SyntheticFrames(frames, width), Path(folder), teacher, config, RunConfig(concurrency=concurrency)
        )
        began, cpu = time.perf_counter(), time.process_time()
        progress = asyncio.run(run.run())
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    answers = progress.counts.answers
    possible = answers / (np.ceil(answers / concurrency) * delay)
    return {
        "concurrency": concurrency, "delay_s": delay, "image_width": width, "answers": answers, "wall_s": wall,
        "answers_per_s": answers / wall,
        "possible_answers_per_s": possible, "share": answers / wall / possible, "cpu_s": cpu,
        "resident_mb": resident_mb(), "failures": dict(progress.counts.failures), "stopped": progress.stopped,
    }  # fmt: skip


class PictureClock:
    """CPU s spent on making pictures: load, compose, draw, encode as JPEG and base64."""

    def __init__(self) -> None:
        self.seconds, self._make = 0.0, labeler.make_pictures

    def __call__(self, *arguments: object) -> tuple:
        """Make pictures and count the time of this thread."""
        began = time.thread_time()
        made = self._make(*arguments)
        self.seconds += time.thread_time() - began
        return made


def cpu_per_frame(teacher: Teacher, frames: int, width: int) -> dict:
    """CPU ms per frame of one run: making pictures, and everything else."""
    clock = PictureClock()
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(labeler, "make_pictures", clock):
        run = LabelRun(
            SyntheticFrames(frames, width),
            Path(folder),
            teacher,
            LabelConfig(samples=SAMPLES),
            RunConfig(concurrency=32),
        )
        cpu = time.process_time()
        progress = asyncio.run(run.run())
        cpu = time.process_time() - cpu
    assert progress.labelled == frames
    assert progress.counts.answers == (SAMPLES + 1) * frames
    return {
        "work": 1000.0 * (cpu - clock.seconds) / frames, "pictures": 1000.0 * clock.seconds / frames,
        "requests": progress.counts.requests / frames,
    }  # fmt: skip


def measure_work(frames: int, width: int, repeats: int = 4) -> dict:
    """CPU ms per frame with three risk samples and the action question: the least of a few runs of each kind."""
    runs: dict[str, list[dict]] = {"own": [], "together": [], "singly": []}
    with running_server(0.0) as url:
        for _ in range(repeats):  # in turn: the machine's other load changes
            runs["own"].append(cpu_per_frame(AtOnce(), frames, width))
            for kind, choices in (("together", SAMPLES), ("singly", 1)):
                teacher = OpenAIServer(ServerConfig("m", url, choices=choices))
                runs[kind].append(cpu_per_frame(teacher, frames, width))
    least = {kind: min(run["work"] for run in of_kind) for kind, of_kind in runs.items()}
    return {
        "frames": frames, "objects": OBJECTS, "image_width": width,
        "requests_per_frame": runs["together"][0]["requests"],
        "work_ms_per_frame": least["together"], "of_it_client_ms": least["together"] - least["own"],
        "singly_requests_per_frame": runs["singly"][0]["requests"], "singly_work_ms_per_frame": least["singly"],
        "pictures_ms_per_frame": min(run["pictures"] for run in runs["own"]),
    }  # fmt: skip


def resident_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


MEMORY_POINTS = (0.01, 0.02, 0.05, *(k / 10 for k in range(1, 11)))  # shares of a run


def measure_memory(frames: int) -> dict:
    """Resident MB at points of a run."""
    resident: dict[int, float] = {}

    def watch(progress: RunProgress) -> None:
        if len(resident) < len(MEMORY_POINTS) and progress.labelled >= MEMORY_POINTS[len(resident)] * frames:
            resident[progress.labelled] = round(resident_mb(), 1)
            print(f"{progress.labelled} frames, {resident_mb():.1f} MB, {time.process_time():.0f} s CPU", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        teacher, config = ControlTeacher("constant"), LabelConfig(tasks=("risk",))
        run = LabelRun(SyntheticFrames(frames, 1600), Path(folder), teacher, config, RunConfig(), on_progress=watch)
        asyncio.run(run.run())
    return {"frames": frames, "resident_mb": resident, "cpu_s": time.process_time()}


def measure_pictures(frames: int, width: int) -> dict:
    """CPU ms per frame of reading six JPEGs, and of making the two pictures that are sent from them."""
    cv2.setNumThreads(1)
    files = photographs(width)
    source, config = SyntheticFrames(frames, width), LabelConfig()
    prompts, spent, made = config.load_prompts(), np.zeros((frames, 2)), {}
    for index in range(frames):
        frame = source.frame(index)
        objects = ground_annotations(frame, config.grounding)
        began = time.process_time()
        images = tuple(decode_image(file) for file in files)
        decoded = time.process_time()
        shown = replace(frame, load_images=lambda images=images: images)
        made, _, _ = make_pictures(shown, objects, prompts, config.pictures, False)
        spent[index] = decoded - began, time.process_time() - decoded
    decode_ms, make_ms = (1000.0 * np.median(spent, axis=0)).tolist()
    return {
        "frames": frames, "images": len(files), "image_size": [width, width * 9 // 16],
        "image_kb": sum(map(len, files)) / len(files) / 1e3,
        "sent": {task: [*p.size, round(len(p.jpeg) / 1e3)] for task, p in made.items()},  # px, px, kB
        "decode_ms_per_frame": decode_ms, "compose_encode_ms_per_frame": make_ms,
    }  # fmt: skip


def main() -> None:
    """Measure the chosen part and merge it into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("rate", "work", "memory", "pictures"), required=True)
    parser.add_argument("--frames", type=int, help="default: rate 3072, work 400, memory 100000, pictures 20")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--delay", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=400, help="image width of the rate and work parts, px")
    arguments = parser.parse_args()
    frames = arguments.frames or {"rate": 3072, "work": 400, "memory": 100_000, "pictures": 20}[arguments.part]
    before = {"load_before": os.getloadavg()[0], "nice": os.nice(0)}
    if arguments.part == "rate":
        found = measure_rate(frames, arguments.concurrency, arguments.delay, arguments.width)
    elif arguments.part == "work":
        found = measure_work(frames, arguments.width)
    elif arguments.part == "memory":
        found = measure_memory(frames)
    else:
        found = measure_pictures(frames, 1600)
    found |= before
    path = ROOT / "benchmarks" / "results" / "labeling.json"
    path.parent.mkdir(exist_ok=True)
    results = json.loads(path.read_text()) if path.is_file() else {}
    from rsd_offline.bench.measure import processor_name  # brings torch along: not before measuring

    hardware = {"machine": processor_name(), "cores": os.cpu_count()}
    path.write_text(json.dumps(results | {arguments.part: found | hardware}, indent=1) + "\n")
    for key, value in found.items():
        print(f"{key:26} {value}")


if __name__ == "__main__":
    main()
