"""Requests as files in the format of OpenAI's batch API, and results read back from such files.

<folder>/requests-00000.jsonl    to hand in; at most 50,000 requests or 190 MB a file
<folder>/results/*.jsonl         put the results here and run again
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rsd_offline.labeling.answer_cache import Answer, AnswerCache
from rsd_offline.labeling.questions import Question
from rsd_offline.labeling.teachers.base import AnswerPendingError
from rsd_offline.labeling.teachers.openai_server import ServerConfig, answers_of, request_body, server_identity

MAX_REQUESTS, MAX_BYTES = 50_000, 190_000_000


class BatchFiles:
    """Writes every new question down once; its answer comes with a later run. Same identity as the server's."""

    looks, samples, family = True, True, "general"
    reach, choices = math.inf, 1

    def __init__(self, folder: Path, config: ServerConfig) -> None:
        self.folder, self.config = folder, config
        self.identity = server_identity(config)
        folder.mkdir(parents=True, exist_ok=True)
        for path in self._files():
            _drop_torn_line(path)
        outcomes = {r["custom_id"]: _succeeded(r) for r in _results(folder)}
        written = {line["custom_id"] for path in self._files() for line in _lines(path)}
        self._written = {name for name in written if outcomes.get(name, True)}  # failed ones are handed in again
        self.new = 0
        self._file = None

    async def ask(self, question: Question) -> Answer:
        """Write the question down. Always raises AnswerPendingError."""
        name = question.key(self.identity.fingerprint).hex()
        if name not in self._written:
            about = json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": None})
            body = request_body(question, self.config)
            self._append(about.encode().removesuffix(b"null}") + body + b"}\n")
            self._written.add(name)
            self.new += 1
        raise AnswerPendingError(name)

    async def close(self) -> None:
        """Close the file that is being written."""
        if self._file is not None:
            self._file.close()

    def _append(self, line: bytes) -> None:
        full = self._file is not None and (self._requests >= MAX_REQUESTS or self._file.tell() + len(line) > MAX_BYTES)
        if self._file is None or full:
            if self._file is not None:
                self._file.close()
            self._file = (self.folder / f"requests-{len(self._files()):05d}.jsonl").open("wb")
            self._requests = 0
        self._file.write(line)
        self._requests += 1

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("requests-*.jsonl"))


def import_results(folder: Path, cache: AnswerCache) -> Counter:
    """Put all results of `<folder>/results` into the cache; counts by outcome (answered, known, failed)."""
    counts: Counter = Counter()
    for result in _results(folder):
        if not _succeeded(result):
            counts["failed"] += 1
            continue
        key = bytes.fromhex(result["custom_id"])
        if cache.get(key) is not None:
            counts["known"] += 1
            continue
        cache.put(key, answers_of(result["response"]["body"])[0])
        counts["answered"] += 1
    return counts


def _results(folder: Path) -> Iterator[dict]:
    for path in sorted((folder / "results").glob("*.jsonl")):
        yield from _lines(path)


def _succeeded(result: dict) -> bool:
    response = result.get("response") or {}
    return response.get("status_code") == 200 and isinstance(response.get("body"), dict)


def _lines(path: Path) -> Iterator[dict]:
    """The file's JSON objects that have a name; lines that are none are left out."""
    with path.open() as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and "custom_id" in value:
                yield value


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line that a kill left half written: the file may be handed in as it is."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        path.write_bytes(data[: data.rfind(b"\n") + 1])
