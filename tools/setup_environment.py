"""Makes the environment that `make` uses: GL libraries, packages, CUDA torch where there is an NVIDIA driver, messages.

Runs on the system's Python with the standard library alone. What an earlier run has done is skipped.
"""

from __future__ import annotations

import argparse
import ctypes.util
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
PYTHONS = (3, 11), (3, 13)  # ROS wheels exist for these and all between, on x86-64
TORCH = "torch==2.13.0"
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS_TO_DRIVE: tuple[str, ...] = ()
EXTRAS_TO_DEVELOP = ("opendrive", "towns", "labels", "train", "dev")
GL_PACKAGES = {"GL": "libgl1", "EGL": "libegl1"}
DRI_DRIVERS = ("dri/swrast_dri.so", "libgallium-*.so")  # Mesa up to 24, Mesa from 24.2 on
PIP_SECONDS, APT_SECONDS = 1500, 600


class SetupError(RuntimeError):
    """A step that cannot be done; the text says what to run instead."""


def main() -> int:
    """Command line; prints one line a step and returns 1 with the remedy where a step fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--ros", choices=("jazzy", "kilted"), default="jazzy")
    parser.add_argument("--develop", action="store_true", help="also what the tests, training and labelling need")
    arguments = parser.parse_args()
    try:
        set_up(arguments.venv.absolute(), arguments.ros, EXTRAS_TO_DEVELOP if arguments.develop else EXTRAS_TO_DRIVE)
    except (SetupError, subprocess.TimeoutExpired) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def set_up(venv: Path, ros: str, extras: tuple[str, ...]) -> None:
    """Every step in order; each is skipped where its result is there."""
    check_python()
    install_system_packages(missing_system_packages())
    if not (venv / "bin" / "python").exists():
        step(f"virtual environment {venv.name}", create_environment, venv)
    stamp = Stamp(venv / "rsd_setup.json")
    if not stamp.covers("torch", TORCH, ()):
        step("torch", install_torch, venv)
        stamp.record("torch", TORCH, ())
    inputs, wanted = inputs_hash(ros), stamp.extras("packages") | {*extras}
    if not stamp.covers("packages", inputs, wanted):
        step("packages", install_packages, venv, ros, wanted)
        stamp.record("packages", inputs, wanted)
    run(venv / "bin" / "python", "-m", "rsd_ros.build_messages", what="messages", seconds=PIP_SECONDS, show=True)


class Stamp:
    """What earlier runs finished: {step: {inputs, extras}}, in one JSON file in the environment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}

    def extras(self, name: str) -> set[str]:
        """The extras that a step has installed so far."""
        return set(self.done.get(name, {}).get("extras", ()))

    def covers(self, name: str, inputs: str, extras: Collection[str]) -> bool:
        """True when the step was done from these inputs with at least these extras."""
        return self.done.get(name, {}).get("inputs") == inputs and set(extras) <= self.extras(name)

    def record(self, name: str, inputs: str, extras: Collection[str]) -> None:
        """Writes that the step is done."""
        self.done[name] = {"inputs": inputs, "extras": sorted(extras)}
        self.path.write_text(json.dumps(self.done, indent=1))


def inputs_hash(ros: str) -> str:
    """What decides which packages are installed; settings of ruff or pytest in pyproject.toml do not."""
    project = json.dumps(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])
    pins = [(ROOT / name).read_text() for name in ("setup.py", f"requirements/ros-{ros}.txt")]
    return hashlib.sha256("\0".join([project, *pins]).encode()).hexdigest()


def step(name: str, action: Callable[..., None], *arguments: object) -> None:
    """Runs one step and prints how long it took."""
    print(f"setup: {name} ...", flush=True)
    start = time.monotonic()
    action(*arguments)
    print(f"setup: {name} done in {time.monotonic() - start:.0f} s", flush=True)


def check_python() -> None:
    """Raises SetupError where the ROS wheels do not fit this Python or machine."""
    oldest, newest = PYTHONS
    if not oldest <= sys.version_info[:2] <= newest or os.uname().machine != "x86_64":
        found = f"Python {sys.version_info.major}.{sys.version_info.minor} on {os.uname().machine}"
        wanted = f"Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]} on x86_64"
        raise SetupError(f"found {found}; the ROS wheels need {wanted}; name one: make PYTHON=python3.11 ...")


def has_nvidia_driver() -> bool:
    """True where a GPU can be used."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def missing_system_packages() -> list[str]:
    """Debian packages to install: GL for the world's renderer, compiler and Python's headers for the messages."""
    missing = [package for library, package in GL_PACKAGES.items() if ctypes.util.find_library(library) is None]
    folders = [Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib")]
    has_mesa = any(list(folder.glob(driver)) for folder in folders for driver in DRI_DRIVERS)
    if not has_mesa and not has_nvidia_driver():
        missing.append("libgl1-mesa-dri")
    if shutil.which("g++") is None:
        missing.append("g++")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        missing.append(f"python{version}-dev")
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        missing.append(f"python{version}-venv")
    return missing


def install_system_packages(packages: list[str]) -> None:
    """Installs by apt where that needs no password; else raises SetupError with the command to run."""
    if not packages:
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"this machine lacks what Debian calls {', '.join(packages)}; install these, then run make again"
        )
    if sudo and not may_sudo():
        raise SetupError(f"system packages are missing; run this, then make again:\n  sudo {command}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    print(f"setup: {command}", flush=True)
    run(*sudo, "apt-get", "update", "-q", what="apt-get update", seconds=APT_SECONDS)
    run(*sudo, *command.split(), what=command, seconds=APT_SECONDS)


def may_sudo() -> bool:
    """True when sudo asks for no password."""
    if shutil.which("sudo") is None:
        return False
    return subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False, timeout=30).returncode == 0


def create_environment(venv: Path) -> None:
    """A fresh virtual environment."""
    run(sys.executable, "-m", "venv", venv, what="python -m venv", seconds=120)


def install_torch(venv: Path) -> None:
    """The CUDA build where there is an NVIDIA driver; else the CPU build, which is a tenth of the size."""
    if has_nvidia_driver():
        pip(venv, TORCH)
    elif not try_pip(venv, f"{TORCH}+cpu"):  # a local copy of the CPU build, where pip knows one
        pip(venv, f"{TORCH}+cpu", "--extra-index-url", CPU_TORCH_INDEX)


def install_packages(venv: Path, ros: str, extras: Collection[str]) -> None:
    """The ROS wheels, then this checkout in editable form with its extras."""
    pip(venv, "-r", str(ROOT / "requirements" / f"ros-{ros}.txt"))
    if shutil.which("cmake") is None:
        pip(venv, "cmake>=3.25,<4")
    target = f"{ROOT}[{','.join(sorted(extras))}]" if extras else str(ROOT)
    constraints = str(ROOT / "requirements" / f"ros-{ros}.txt")
    pip(venv, "--no-build-isolation", "-c", constraints, "-e", target, TORCH)


def pip(venv: Path, *arguments: str) -> None:
    """pip install; raises SetupError with its last lines where it fails."""
    run(venv / "bin" / "python", "-m", "pip", "install", "-q", *arguments, what="pip install", seconds=PIP_SECONDS)


def try_pip(venv: Path, *arguments: str) -> bool:
    """pip install that may fail."""
    try:
        pip(venv, *arguments)
    except SetupError:
        return False
    return True


def run(*command: object, what: str, seconds: float, show: bool = False) -> None:
    """Runs a command without the ROS wheels' start-up variables, which name another environment's libraries."""
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    if environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None):
        environment.pop("LD_LIBRARY_PATH", None)
    result = subprocess.run(
        [str(word) for word in command],
        check=False, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, timeout=seconds,
        stdout=None if show else subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if result.returncode:
        tail = "\n".join((result.stdout or "").splitlines()[-20:])
        raise SetupError(f"{what} failed with exit code {result.returncode}\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
