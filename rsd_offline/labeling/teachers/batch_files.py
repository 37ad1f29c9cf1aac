"""Requests as files in the format of OpenAI's batch API, and results read back from such files.

<folder>/requests-00000.jsonl    to hand in; at most 50,000 requests or 190 MB a file
<folder>/results/*.jsonl         put the results here and run again

A request is named (`custom_id`) by its question's key, one for several samples by that of the first and `-n<count>`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rsd_offline.labeling.answer_cache import Answer
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.teachers.base import AnswerPendingError, TeacherRefusedError
from rsd_offline.labeling.teachers.openai_server import (
    ServerConfig,
    answers_of,
    request_body,
    server_identity,
    status_error,
)

MAX_REQUESTS, MAX_BYTES = 50_000, 190_000_000
KEY_LETTERS = 60  # of a key that names a request for several samples: some servers take names of 64 letters at most


class BatchFiles:
    """Answers from the results; writes what they lack down once, for a later run. Same identity as the server's."""

    looks, samples, family = True, True, "general"
    reach = math.inf

    def __init__(self, folder: Path, config: ServerConfig) -> None:
        self.folder, self.config, self.choices = folder, config, config.most_choices
        self.identity = server_identity(config)
        for path in self._files():
            _drop_torn_line(path)
        self._answers: dict[str, tuple[Path, int]] = {}  # name -> file and place in it
        self._failures: dict[str, Exception] = {}  # of requests that were not handed in again since
        self._asked: dict[str, int] = {}  # name without its count -> samples that the last such request asks for
        self._read()
        self.results = Counter(answered=len(self._answers), failed=len(self._failures.keys() - self._answers.keys()))
        self.new = 0
        self._file = None

    async def ask(self, question: Question) -> Answer:
        """The answer among the results. Raises AnswerPendingError where there is none yet."""
        return (await self.ask_several(question, 1))[0]

    async def ask_several(self, question: Question, count: int) -> list[Answer]:
        """Up to `count` answers among the results, fewer where fewer were asked for. Raises as `ask`.

        Raises TeacherRefusedError where the server does not take a request for several.
        """
        key = question.key(self.identity.fingerprint).hex()
        asked = self._asked.get(key[:KEY_LETTERS])
        name = _name(key, asked or count)
        if name in self._answers:
            return answers_of(self._result(name)["response"]["body"], count)
        failure = self._failures.get(name)
        if asked and asked > 1 and isinstance(failure, TeacherRefusedError):
            if count > 1:
                raise failure
            self._write(key, 1, question)
        elif asked is None or failure is not None:  # what failed is handed in again
            self._write(key, asked or count, question)
        raise AnswerPendingError(name)

    async def close(self) -> None:
        """Close the file that is being written."""
        if self._file is not None:
            self._file.close()

    def _write(self, key: str, count: int, question: Question) -> None:
        about = {"custom_id": _name(key, count), "method": "POST", "url": "/v1/chat/completions", "body": None}
        body = request_body(question, self.config, count)
        self._append(json.dumps(about).encode().removesuffix(b"null}") + body + b"}\n")
        self._asked[key[:KEY_LETTERS]] = count
        self._failures.pop(_name(key, count), None)
        self.new += 1

    def _append(self, line: bytes) -> None:
        full = self._file is not None and (self._requests >= MAX_REQUESTS or self._file.tell() + len(line) > MAX_BYTES)
        if self._file is None or full:
            if self._file is not None:
                self._file.close()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / f"requests-{len(self._files()):05d}.jsonl").open("wb")
            self._requests = 0
        self._file.write(line)
        self._requests += 1

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("requests-*.jsonl"))

    def _read(self) -> None:
        """See what was asked for, and what came of it."""
        asked_at: dict[str, float] = {}
        for path in self._files():
            modified = path.stat().st_mtime
            for _, line in _lines(path):
                key, _, count = line["custom_id"].partition("-n")
                self._asked[key[:KEY_LETTERS]] = int(count or 1)
                asked_at[line["custom_id"]] = modified
        for path in sorted((self.folder / "results").glob("*.jsonl")):
            modified = path.stat().st_mtime
            for place, result in _lines(path):
                name, failure = result["custom_id"], _failure(result)
                if failure is None:
                    self._answers[name] = path, place
                elif modified >= asked_at.get(name, 0.0):
                    self._failures[name] = failure

    def _result(self, name: str) -> dict:
        path, place = self._answers[name]
        with path.open("rb") as file:
            file.seek(place)
            return json.loads(file.readline())


def _failure(result: dict) -> Exception | None:
    """Why a result brings no answer, None if it does."""
    response = result.get("response") or {}
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and isinstance(body, dict) and body.get("choices"):
        return None
    return status_error(status if isinstance(status, int) and status >= 400 else 500)


def _name(key: str, count: int) -> str:
    return key if count == 1 else f"{key[:KEY_LETTERS]}-n{count}"


def _lines(path: Path) -> Iterator[tuple[int, dict]]:
    """The file's JSON objects that have a name, and where their lines begin; lines that are none are left out."""
    place = 0
    with path.open("rb") as file:
        for line in file:
            begin, place = place, place + len(line)
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and isinstance(value.get("custom_id"), str):
                yield begin, value


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that a kill left half written: the file may be handed in as it is."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        path.write_bytes(data[: data.rfind(b"\n") + 1])
