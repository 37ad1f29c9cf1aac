"""A real HTTP server that speaks chat completions and misbehaves on a script. It runs in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Reply:
    """One response. `text` is the model's answer; with `raw` the body is that instead; `drop` closes the connection.

    To a request for n answers, the server gives `text` n times, with more and more blanks behind it; `choices` are its
    answers instead, whatever n is. It comes after `delay` s, and once `wait_for` requests were there at once.
    """

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay: float = 0.0
    wait_for: int = 0
    drop: bool = False
    finish_reason: str = "stop"
    choices: list[str] | None = None


def asked_numbers(body: dict) -> list[int]:
    """Numbers of the objects that a risk question lists."""
    text = body["messages"][1]["content"][-1]["text"]
    return [int(n) for n in re.findall(r"^(\d+): ", text, re.MULTILINE)]


def is_risk(body: dict) -> bool:
    return '"risk"' in body["messages"][1]["content"][-1]["text"]


def good_answer(body: dict) -> str:
    """What a model that does as it is told answers; risk falls with the number."""
    if not is_risk(body):
        return json.dumps(
            {
                "current_action": "driving", "future_action": "keep on", "reason": "the way is free",
                "control": "go straight", "turn": "none", "lane": "none",
            }
        )  # fmt: skip
    numbers = asked_numbers(body)
    return json.dumps({"objects": [entry(n, 1.0 / (1 + n), rank) for rank, n in enumerate(numbers, start=1)]})


def entry(number: int, risk: float, rank: int = 1) -> dict:
    return {"id": number, "rank": rank, "risk": risk, "crosses_ego_path": risk > 0.4, "cause": f"object {number}"}


class TeacherServer:
    """`script(number of the request, body) -> Reply`; every request is kept in `bodies`, `most_at_once` is measured."""

    def __init__(self, script: Callable[[int, dict], Reply] | None = None, most_requests: int = 2000) -> None:
        self.script = script or (lambda _n, body: Reply(good_answer(body)))
        self.bodies: list[dict] = []
        self.authorizations: set[str] = set()
        self.most_at_once, self._now, self._most_requests = 0, 0, most_requests
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> TeacherServer:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        connections: set[asyncio.Task] = set()

        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(asyncio.current_task())
            try:
                while await self._answer(reader, writer):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = int(re.search(r"content-length: (\d+)", head, re.IGNORECASE)[1])
        body = json.loads(await reader.readexactly(length))
        number = len(self.bodies)
        self.bodies.append(body)
        self.authorizations |= set(re.findall(r"authorization: (.*)\r", head, re.IGNORECASE))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            # A run that asks without end is itself the fault that a test looks for.
            reply = self.script(number, body) if number < self._most_requests else Reply(status=401)
            await asyncio.sleep(reply.delay)
            while self.most_at_once < reply.wait_for:
                await asyncio.sleep(0.005)
        finally:
            self._now -= 1
        if reply.drop:
            return False
        content = reply.raw if reply.raw is not None else completion(reply, body)
        headers = {"content-type": "application/json", "content-length": str(len(content)), **reply.headers}
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode() + content)
        await writer.drain()
        return True


def completion(reply: Reply, body: dict) -> bytes:
    """A chat completion's JSON."""
    texts = [reply.text + i * " " for i in range(body.get("n", 1))] if reply.choices is None else reply.choices
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": reply.finish_reason}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1000, "completion_tokens": 100 * len(texts)}
    value = {"id": "x", "object": "chat.completion", "model": body.get("model"), "choices": choices, "usage": usage}
    return json.dumps(value).encode()


class DyingTeacher:
    """Answers as a good model does; the first worker that reaches request 6 is killed. Keeps every question."""

    looks, samples, family, reach, choices = True, True, "general", float("inf"), 1

    def __init__(self, folder):
        from rsd_offline.labeling.teachers.base import TeacherIdentity

        self.identity, self._folder, self._asked = TeacherIdentity("dying"), folder, 0

    async def ask(self, question):
        from rsd_offline.labeling.answer_cache import Answer

        self._asked += 1
        if self._asked == 6:
            try:
                (self._folder / "killed").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        with (self._folder / "asked").open("a") as file:
            file.write(question.key("x").hex() + "\n")
        body = {"messages": [{}, {"content": [{"text": question.text}]}]}
        return Answer(good_answer(body))

    async def close(self):
        pass
