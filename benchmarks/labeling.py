"""What labelling costs on our side: rate against a slow server, memory over many frames, work per frame.

    python benchmarks/labeling.py --part work      CPU ms per frame beside image encoding
    python benchmarks/labeling.py --part rate      share of a 2 s server's possible rate at concurrency 256
    python benchmarks/labeling.py --part memory    resident memory over many frames

Results go to benchmarks/results/labeling.json with the hardware's name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rsd_model.geometry import bench2drive_rig  # noqa: E402
from rsd_offline.datasets.frames import AnnotatedObjects, KeyFrame  # noqa: E402
from rsd_offline.labeling.labeler import LabelConfig  # noqa: E402
from rsd_offline.labeling.run import LabelRun, RunConfig, RunProgress  # noqa: E402
from rsd_offline.labeling.teachers.controls import ControlTeacher  # noqa: E402
from rsd_offline.labeling.teachers.openai_server import OpenAIServer, ServerConfig  # noqa: E402

OBJECTS = 12


class SyntheticFrames:
    """Frames of `OBJECTS` objects around the ego; all share six images of one size."""

    def __init__(self, count: int, width: int) -> None:
        self.name, self._count = "synthetic", count
        self._rig = bench2drive_rig(width, width * 9 // 16)
        rng = np.random.default_rng(0)
        shape = (width * 9 // 16 // 8, width // 8, 3)
        blocks = [np.kron(rng.integers(60, 200, shape), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(6)]
        self._images = tuple(blocks)

    def __len__(self) -> int:
        return self._count

    def frame_id(self, index: int) -> str:
        """<clip>/<frame>."""
        return f"clip{index // 100:04d}/{index % 100:05d}"

    def frame(self, index: int) -> KeyFrame:
        """Objects differ from frame to frame."""
        rng = np.random.default_rng(index)
        angle, reach = rng.uniform(-np.pi, np.pi, OBJECTS), rng.uniform(5.0, 50.0, OBJECTS)
        place = [reach * np.cos(angle), reach * np.sin(angle), np.full(OBJECTS, 0.8)]
        boxes = np.column_stack([*place, np.tile([4.5, 1.9, 1.6], (OBJECTS, 1)), angle])
        objects = AnnotatedObjects(
            boxes, rng.normal(0.0, 4.0, (OBJECTS, 2)), ("car",) * OBJECTS, np.arange(OBJECTS), np.zeros(OBJECTS, bool)
        )
        return KeyFrame(self.frame_id(index), self._rig, lambda: self._images, 8.0, 0.1, objects=objects)


def serve(port_box: multiprocessing.SimpleQueue, delay: float) -> None:
    """A server of one fixed answer per number of objects, `delay` s after each request."""
    risks = [
        {"id": n, "rank": n, "risk": 0.5 / n, "crosses_ego_path": False, "cause": "x"} for n in range(1, OBJECTS + 1)
    ]
    message = {"role": "assistant", "content": json.dumps({"objects": risks})}
    usage = {"prompt_tokens": 1500, "completion_tokens": 500, "total_tokens": 2000}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(delay)
                writer.write(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1024, limit=2**22)
        port_box.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def measure_rate(frames: int, concurrency: int, delay: float, width: int) -> dict:
    """Answers per second of a whole run, against concurrency / delay."""
    box: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(box, delay), daemon=True)
    server.start()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    teacher = OpenAIServer(ServerConfig("m", f"http://127.0.0.1:{box.get()}/v1"))
    with tempfile.TemporaryDirectory() as folder:
        config = LabelConfig(tasks=("risk",), reasks=0)
        run = LabelRun(
            SyntheticFrames(frames, width), Path(folder), teacher, config, RunConfig(concurrency=concurrency)
        )
        began, cpu = time.perf_counter(), time.process_time()
        progress = asyncio.run(run.run())
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    server.terminate()
    answers = progress.counts.answers
    possible = answers / (np.ceil(answers / concurrency) * delay)
    return {
        "concurrency": concurrency, "delay_s": delay, "answers": answers, "wall_s": wall,
        "answers_per_s": answers / wall,
        "possible_answers_per_s": possible, "share": answers / wall / possible, "cpu_s": cpu,
        "failures": dict(progress.counts.failures), "stopped": progress.stopped,
    }  # fmt: skip


def measure_work(frames: int) -> dict:
    """CPU ms per frame of everything but images and the client: ground, ask, check, weigh, lift, store."""
    with tempfile.TemporaryDirectory() as folder:
        run = LabelRun(
            SyntheticFrames(frames, 1600),
            Path(folder),
            ControlTeacher("random"),
            LabelConfig(tasks=("risk",)),
            RunConfig(),
        )
        cpu = time.process_time()
        progress = asyncio.run(run.run())
        cpu = time.process_time() - cpu
    return {"frames": progress.labelled, "cpu_ms_per_frame": 1000.0 * cpu / frames, "samples": 3, "objects": OBJECTS}


def measure_memory(frames: int) -> dict:
    """Resident MB at each tenth of a run."""
    resident: list[float] = []

    def watch(progress: RunProgress) -> None:
        if progress.labelled >= (len(resident) + 1) * frames / 10:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident.append(pages * resource.getpagesize() / 2**20)

    with tempfile.TemporaryDirectory() as folder:
        teacher, config = ControlTeacher("constant"), LabelConfig(tasks=("risk",))
        run = LabelRun(SyntheticFrames(frames, 1600), Path(folder), teacher, config, RunConfig(), on_progress=watch)
        asyncio.run(run.run())
    return {"frames": frames, "resident_mb_by_tenth": [round(r, 1) for r in resident]}


def main() -> None:
    """Measure the chosen part and merge it into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("rate", "work", "memory"), required=True)
    parser.add_argument("--frames", type=int, help="default: rate 3072, work 400, memory 100000")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--delay", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=400, help="image width of the rate part, px")
    arguments = parser.parse_args()
    frames = arguments.frames or {"rate": 3072, "work": 400, "memory": 100_000}[arguments.part]
    if arguments.part == "rate":
        found = measure_rate(frames, arguments.concurrency, arguments.delay, arguments.width)
    else:
        found = {"work": measure_work, "memory": measure_memory}[arguments.part](frames)
    found |= {"load_before": os.getloadavg()[0]}
    path = ROOT / "benchmarks" / "results" / "labeling.json"
    path.parent.mkdir(exist_ok=True)
    results = json.loads(path.read_text()) if path.is_file() else {}
    hardware = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    path.write_text(json.dumps(results | {arguments.part: found | hardware}, indent=1) + "\n")
    for key, value in found.items():
        print(f"{key:26} {value}")


if __name__ == "__main__":
    main()
