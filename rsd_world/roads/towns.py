"""Towns by name or path."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from rsd_world.roads.town import Town
from rsd_world.roads.town_storage import read_town

MAPS = Path(__file__).resolve().parent.parent / "maps"


def town_names() -> tuple[str, ...]:
    """Names of the towns that are part of the package."""
    return tuple(sorted(path.stem for path in MAPS.glob("*.npz")))


@lru_cache(maxsize=4)
def load_town(name_or_path: str | Path) -> Town:
    """A town of the package ("alder", "birch") or the path of an imported `.npz`.

    The same call gives the same object: towns do not change. Raises FileNotFoundError, or MapFileError for a broken
    file.
    """
    path = Path(name_or_path)
    if str(name_or_path) in town_names():
        return read_town(MAPS / f"{name_or_path}.npz")
    if path.suffix == ".xodr":
        raise ValueError(f"{path} is OpenDRIVE: run `rsd import-map {path}` and load the .npz that it writes")
    if not path.is_file():
        raise FileNotFoundError(
            f"no town {str(name_or_path)!r}: known are {', '.join(town_names())}, or the path of a .npz"
        )
    return read_town(path)
