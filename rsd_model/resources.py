"""Where the files that are no Python code lie: in a checkout, a pip installation or a colcon install space."""

from __future__ import annotations

from pathlib import Path


def share_path(name: str) -> Path:
    """A file or folder that ships beside the packages: "config/model/nano.yaml", "launch/sim.launch.py".

    In a checkout it lies in the repository, in an installation under `<prefix>/share/rsd`, for pip and colcon alike.
    Raises FileNotFoundError with every place that was searched.
    """
    code = Path(__file__).absolute().parent
    places = [code.parent / name, *(prefix / "share" / "rsd" / name for prefix in code.parents)]
    for place in places:
        if place.exists():
            return place
    searched = ", ".join(str(place) for place in places[:-1])
    raise FileNotFoundError(f"{name} is neither in a checkout nor installed; searched {searched}")


def config_path(name: str) -> Path:
    """A file or folder below config/: "model/nano.yaml". Raises FileNotFoundError as share_path."""
    return share_path(f"config/{name}")
