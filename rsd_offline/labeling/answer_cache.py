"""Answers on disk, named by the question's content: a run that was killed asks nothing twice.

Each writing process has a SQLite file of its own in the folder and reads those of the others, so that workers on
several machines can share a folder.
"""

from __future__ import annotations

import errno
import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


class StorageFullError(OSError):
    """Nothing more can be written."""


@dataclass(frozen=True)
class Answer:
    """What came back for one question. `refusal` is a lasting refusal's reason; there is no text then.

    Where one request brought several answers, the first of them bears its tokens and the others have `requests` 0.
    """

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refusal: str = ""
    requests: int = 1


class AnswerCache:
    """Answers by key. The answers of every request are committed at once: what was received survives a kill."""

    def __init__(self, folder: Path, writer: str = "answers", shared: bool = False) -> None:
        """`shared`: other machines write into the folder too (no write-ahead log, which needs shared memory)."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{writer}.sqlite"
        with _storage(self._path):
            self._own = sqlite3.connect(self._path, timeout=60.0, isolation_level=None, check_same_thread=False)
            self._own.execute(f"PRAGMA journal_mode={'TRUNCATE' if shared else 'WAL'}")
            self._own.execute("PRAGMA synchronous=NORMAL")
            self._own.execute("PRAGMA cache_size=-2048")
            self._own.execute(
                "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            )
        self._others = [
            sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60.0, check_same_thread=False)
            for path in sorted(folder.glob("*.sqlite"))
            if path != self._path
        ]

    def __len__(self) -> int:
        return sum(int(_rows(d, "SELECT COUNT(*) FROM answers", ())[0][0]) for d in (self._own, *self._others))

    def get(self, key: bytes) -> Answer | None:
        """The answer to a question, or None."""
        return self.get_all([key]).get(key)

    def get_all(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """The answers to those questions that have one."""
        found: dict[bytes, bytes] = {}
        for database in (self._own, *self._others):
            missing = [key for key in keys if key not in found]
            if missing:
                places = ", ".join("?" * len(missing))
                found |= _rows(database, f"SELECT key, value FROM answers WHERE key IN ({places})", missing)
        return {key: Answer(**json.loads(zlib.decompress(value))) for key, value in found.items()}

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer. Raises StorageFullError where the disk takes no more."""
        self.put_all({key: answer})

    def put_all(self, answers: Mapping[bytes, Answer]) -> None:
        """Keep answers (at least one), all or none of them. Raises StorageFullError where the disk takes no more."""
        values: list[bytes] = []
        for key, answer in answers.items():
            values += key, zlib.compress(json.dumps(vars(answer)).encode(), 1)
        places = ", ".join(["(?, ?)"] * len(answers))
        with _storage(self._path):  # one statement is one transaction
            self._own.execute(f"INSERT OR REPLACE INTO answers VALUES {places}", values)

    def close(self) -> None:
        """Close all files."""
        for database in (self._own, *self._others):
            with suppress(sqlite3.Error):
                database.close()


class _storage:
    """Turns SQLite's words for a full disk into StorageFullError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, sqlite3.OperationalError) and ("full" in str(error) or "disk I/O" in str(error)):
            raise StorageFullError(
                errno.ENOSPC, f"the disk takes no more answers ({error})", str(self._path)
            ) from error


def _rows(database: sqlite3.Connection, statement: str, values: Sequence) -> list[tuple]:
    try:
        return database.execute(statement, values).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # another writer's file that is just being made
            return []
        raise
