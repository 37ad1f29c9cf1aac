"""What pyproject.toml cannot say: extras with ROS pins from files, and the folders that install under share/rsd."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def pins(distribution: str) -> list[str]:
    """Requirements of a ROS distribution from wheels."""
    lines = (ROOT / "requirements" / f"ros-{distribution}.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def shared_files() -> list[tuple[str, list[str]]]:
    """(target folder, files): config and launch as colcon installs them, and what builds the messages."""
    files = [path for folder in ("config", "launch") for path in (ROOT / folder).rglob("*") if path.is_file()]
    targets = {path: Path("share/rsd") / path.relative_to(ROOT) for path in files}
    sources = [ROOT / "CMakeLists.txt", ROOT / "package.xml", *(ROOT / "msg").glob("*.msg")]
    targets |= {path: Path("share/rsd/source") / path.relative_to(ROOT) for path in sources}
    return [(str(target.parent), [str(path.relative_to(ROOT))]) for path, target in sorted(targets.items())]


setup(
    data_files=shared_files(),
    extras_require={
        "ros": pins("jazzy"),
        "ros-kilted": pins("kilted"),
        "opendrive": ["carla>=0.9.15", "networkx"],
        "towns": ["scenariogeneration", "pyclothoids"],
        "labels": ["openai[aiohttp]>=3", "pyarrow"],
        "vlm": ["transformers", "accelerate"],
        "triton": ["triton"],  # a CUDA build of torch brings it; beside a CPU build its interpreter serves the tests
        "cluster": ["ray[data]"],
        "train": ["tensorboard"],
        "dev": [
            "pytest",
            "pytest-timeout",
            "hypothesis",
            "ruff",
            "mypy",
            "types-PyYAML",
            "build",
            "colcon-common-extensions",
        ],
    },
)
