"""Prompts as files: one folder per teacher family, `<task>.md` beside `<task>.schema.json`.

A prompt file begins with `key: value` lines (version, view, max_tokens); then come sections headed `# name`. Sections
hold `$names` that are filled in for each frame.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from string import Template

FOLDER = Path(__file__).parent
VIEWS = ("front", "montage")
TASKS = ("risk", "action")


class PromptError(ValueError):
    """A prompt file is missing or not complete."""


@dataclass(frozen=True)
class Prompt:
    """One task's prompt of one teacher family."""

    family: str
    task: str
    version: int
    view: str  # front | montage
    max_tokens: int  # of the answer
    sections: dict[str, str]
    schema: dict
    hash: str  # of both files

    @cached_property
    def system(self) -> str:
        """The section that is the same for every question."""
        return self.fill("system")

    @cached_property
    def schema_text(self) -> str:
        """The schema as it goes into a question's name."""
        return json.dumps(self.schema, sort_keys=True)

    def fill(self, section: str, **values: object) -> str:
        """A section with its names filled in; raises PromptError for a name without a value."""
        try:
            return Template(self.sections[section]).substitute(values).strip()
        except KeyError as error:
            raise PromptError(f"prompt {self.family}/{self.task}.md: nothing is known of {error}") from error
        except ValueError as error:
            raise PromptError(f"prompt {self.family}/{self.task}.md: {error}; a plain $ is written $$") from error


def families() -> list[str]:
    """The teacher families that prompts exist for."""
    return sorted(path.name for path in FOLDER.iterdir() if (path / "risk.md").is_file())


@cache
def load_prompt(family: str, task: str) -> Prompt:
    """Read the prompt of a task. `family`: a name of `families()`, or a folder of one's own with the same files."""
    folder = FOLDER / family if (FOLDER / family).is_dir() else Path(family)
    text_file, schema_file = folder / f"{task}.md", folder / f"{task}.schema.json"
    try:
        text, schema_text = text_file.read_text(), schema_file.read_text()
        schema = json.loads(schema_text)
    except (OSError, ValueError) as error:
        known = ", ".join(families())
        raise PromptError(f"no prompt for task {task} in {folder} ({error}); families that exist: {known}") from error
    header, sections = _parse(text)
    try:
        version, view, max_tokens = int(header["version"]), header["view"], int(header["max_tokens"])
    except (KeyError, ValueError) as error:
        raise PromptError(f"{text_file} must begin with version, view and max_tokens ({error})") from error
    if view not in VIEWS or not {"system", "user"} <= set(sections):
        raise PromptError(f"{text_file} needs a view of {VIEWS} and sections system and user; it has view {view!r}")
    digest = hashlib.sha256((text + schema_text).encode()).hexdigest()[:16]
    return Prompt(folder.name, task, version, view, max_tokens, sections, schema, digest)


def _parse(text: str) -> tuple[dict[str, str], dict[str, str]]:
    head, *parts = ("\n" + text).split("\n# ")
    header = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    named = (part.partition("\n") for part in parts)
    return header, {name.strip(): body.strip() for name, _, body in named}
