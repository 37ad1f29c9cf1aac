"""Making the teacher that a command names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rsd_offline.labeling.teachers.base import Teacher
from rsd_offline.labeling.teachers.controls import CONTROLS, ControlTeacher, Dial

TEACHERS = ("server", "local", "batch", *CONTROLS)


@dataclass(frozen=True)
class TeacherOptions:
    """What the command line says of the teacher."""

    kind: str
    model: str
    base_url: str | None
    temperature: float
    structure: str
    timeout: float
    batch_folder: Path
    recorded: Path  # labels of the embedded world's own teacher
    dial: tuple[float, float, float]  # omissions, misranking, inventions
    choices: int  # samples that one request to a server may ask for
    token_limit: str = "max_completion_tokens"  # the server's name for the limit of an answer's tokens


def make_teacher(options: TeacherOptions) -> Teacher:
    """The teacher; raises ValueError for one that does not exist or that lacks a model."""
    if options.kind in CONTROLS:
        recorded = options.recorded if options.kind == "privileged" else None
        return ControlTeacher(options.kind, Dial(*options.dial), recorded)
    if options.kind not in TEACHERS:
        raise ValueError(f"teacher {options.kind!r} is unknown; choose among {', '.join(TEACHERS)}")
    if options.kind == "local":
        from rsd_offline.labeling.teachers.local_vlm import DEFAULT_MODEL, LocalConfig, LocalVLM

        return LocalVLM(LocalConfig(options.model or DEFAULT_MODEL, temperature=options.temperature))
    from rsd_offline.labeling.teachers.openai_server import OpenAIServer, ServerConfig

    if not options.model:
        raise ValueError(f"teacher {options.kind} needs --model, the name that the server knows it by")
    if options.kind == "server":
        _check_address(options.base_url or os.environ.get("OPENAI_BASE_URL"))
    config = ServerConfig(
        options.model, options.base_url, options.temperature, options.structure, options.timeout,
        token_limit_name=options.token_limit, choices=options.choices,
    )  # fmt: skip
    if options.kind == "server":
        return OpenAIServer(config)
    from rsd_offline.labeling.teachers.batch_files import BatchFiles

    return BatchFiles(options.batch_folder, config)


def _check_address(url: str | None) -> None:
    if not url and not os.environ.get("OPENAI_API_KEY"):
        raise ValueError(
            "no server is named: give --base-url, such as http://localhost:8000/v1, or set OPENAI_API_KEY for OpenAI's"
        )
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(f"base URL {url!r} must begin with http:// or https://, such as http://localhost:8000/v1")
