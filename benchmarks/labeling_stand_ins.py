"""What stands in for a dataset, a server and a teacher where labelling is measured."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np

from rsd_model.geometry import bench2drive_rig
from rsd_offline.datasets.frames import AnnotatedObjects, KeyFrame
from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.teachers.base import TeacherIdentity

OBJECTS, SAMPLES = 12, 3


def made_up_objects(seed: int) -> AnnotatedObjects:
    """`OBJECTS` cars in every direction, 5 to 50 m away."""
    rng = np.random.default_rng(seed)
    angle, reach = rng.uniform(-np.pi, np.pi, OBJECTS), rng.uniform(5.0, 50.0, OBJECTS)
    place = [reach * np.cos(angle), reach * np.sin(angle), np.full(OBJECTS, 0.8)]
    boxes = np.column_stack([*place, np.tile([4.5, 1.9, 1.6], (OBJECTS, 1)), angle])
    return AnnotatedObjects(
        boxes, rng.normal(0.0, 4.0, (OBJECTS, 2)), ("car",) * OBJECTS, np.arange(OBJECTS), np.zeros(OBJECTS, bool)
    )


class SyntheticFrames:
    """Frames of `OBJECTS` objects around the ego; all share six images of one size, but for their number in blocks."""

    def __init__(self, count: int, width: int) -> None:
        self.name, self._count = "synthetic", count
        self._rig = bench2drive_rig(width, width * 9 // 16)
        rng = np.random.default_rng(0)
        shape = (width * 9 // 16 // 8, width // 8, 3)
        blocks = [np.kron(rng.integers(60, 200, shape), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(6)]
        self._images = tuple(blocks)
        self._scenes = [made_up_objects(seed) for seed in range(500)]

    def __len__(self) -> int:
        return self._count

    def frame_id(self, index: int) -> str:
        """<clip>/<frame>."""
        return f"clip{index // 100:04d}/{index % 100:05d}"

    def frame(self, index: int) -> KeyFrame:
        """Objects differ from frame to frame; making them up is no work of labelling, so they are ready."""
        objects = self._scenes[index % len(self._scenes)]
        return KeyFrame(self.frame_id(index), self._rig, lambda: self._numbered(index), 8.0, 0.1, objects=objects)

    def _numbered(self, index: int) -> tuple[np.ndarray, ...]:
        """No two frames may look the same: equal questions are asked once."""
        numbered = []
        for image in self._images:
            bits = np.array([255 * (index >> k & 1) for k in range(20)], np.uint8)
            numbered.append(image.copy())
            numbered[-1][:16, : 16 * 20] = np.repeat(bits, 16)[None, :, None]
        return tuple(numbered)


def photographs(width: int) -> tuple[bytes, ...]:
    """Six JPEGs as cameras make them: smooth areas, edges and grain."""
    rng = np.random.default_rng(0)
    size = (width, width * 9 // 16)
    files, quality = [], [cv2.IMWRITE_JPEG_QUALITY, 75]
    for _ in range(6):
        coarse, fine = (rng.integers(30, 220, (9 * k, 16 * k, 3)).astype(np.uint8) for k in (2, 8))
        smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        image = cv2.addWeighted(smooth, 0.7, cv2.resize(fine, size, interpolation=cv2.INTER_NEAREST), 0.3, 0.0)
        grain = rng.normal(0.0, 4.0, image.shape)
        files.append(cv2.imencode(".jpg", np.clip(image + grain, 0, 255).astype(np.uint8), quality)[1].tobytes())
    return tuple(files)


RISKS = {
    "objects": [
        {"id": n, "rank": n, "risk": 0.5 / n, "crosses_ego_path": False, "cause": "the car ahead may brake for the bus"}
        for n in range(1, OBJECTS + 1)
    ]
}
ACTIONS = {
    "current_action": "driving at 8 m/s", "future_action": "keep on", "reason": "the way is free",
    "control": "go straight", "turn": "none", "lane": "none",
}  # fmt: skip


def fixed_answer(action: bool) -> str:
    """The text of an answer to either question."""
    return json.dumps(ACTIONS if action else RISKS)


def http_reply(action: bool, count: int) -> bytes:
    """The whole response of a server that gives the fixed answer `count` times, each with another blank behind it."""
    texts = [fixed_answer(action) + i * " " for i in range(count)]
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1500, "completion_tokens": 500 * count}
    body = json.dumps({"choices": choices, "usage": usage}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def serve(port_box: multiprocessing.SimpleQueue, delay: float) -> None:
    """A server of fixed answers, `delay` s after each request."""
    replies = {(action, count): http_reply(action, count) for action in (False, True) for count in (1, SAMPLES)}
    is_action, is_several = re.compile(rb'"name": ?"action"'), re.compile(rb'"n": ?%d\b' % SAMPLES)

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                request = await reader.readexactly(length)
                await asyncio.sleep(delay)
                action, several = is_action.search(request), is_several.search(request)
                writer.write(replies[action is not None, SAMPLES if several else 1])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1024, limit=2**22)
        port_box.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def running_server(delay: float) -> Iterator[str]:
    """Base URL of a server in a process of its own."""
    box: multiprocessing.SimpleQueue = multiprocessing.SimpleQueue()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(box, delay), daemon=True)
    server.start()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    try:
        yield f"http://127.0.0.1:{box.get()}/v1"
    finally:
        server.terminate()


class AtOnce:
    """A teacher that looks and answers without any client: what is left is our own work."""

    looks, samples, family, reach, choices = True, True, "general", float("inf"), SAMPLES
    identity = TeacherIdentity("at once")
    _texts = (fixed_answer(False), fixed_answer(True))

    async def ask(self, question: Question) -> Answer:
        """The fixed answer."""
        return Answer(self._texts[question.task == "action"], "stop", 1500, 500)

    async def ask_several(self, question: Question, count: int) -> list[Answer]:
        """The fixed answer with another blank each."""
        answer = await self.ask(question)
        return [replace(answer, text=answer.text + i * " ", requests=int(i == 0)) for i in range(count)]

    async def close(self) -> None:
        """Nothing is held."""
