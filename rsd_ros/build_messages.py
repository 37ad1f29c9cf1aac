"""Builds the ROS messages into the running Python's environment when ROS comes from wheels (no ROS installation).

`python -m rsd_ros.build_messages` builds `rsd` and, where they are not importable, carla_msgs, ackermann_msgs and
tf2_msgs. It needs cmake, a C++ compiler and Python's headers, and does nothing when no definition has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rsd_model.resources import share_path

STAMP = Path(sys.prefix) / "share" / "rsd" / "messages.json"  # {package: hash of the definitions it was built from}
PACKAGES = ("rsd", "ackermann_msgs", "carla_msgs", "tf2_msgs")
BUILD_SECONDS = 600  # a hanging compiler must not hang CI


class MessageBuildError(RuntimeError):
    """The messages could not be built; the text says what was missing or what the compiler said."""


def source_folder(package: str) -> Path:
    """The folder with a package's definitions: our own, or those that stand in for a missing package."""
    if package != "rsd":
        return Path(__file__).parent / "compat" / "interfaces" / package
    checkout = Path(__file__).absolute().parents[1]
    return checkout if (checkout / "package.xml").exists() else share_path("source")


def definitions_hash(folder: Path) -> str:
    """Hash over the names and contents of a package's message definitions, and the generator that would build them."""
    digest = hashlib.sha256(_generator_version().encode())
    for path in sorted((folder / "msg").glob("*.msg")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _generator_version() -> str:
    try:
        return importlib.metadata.version("ros-rosidl-generator-py")
    except importlib.metadata.PackageNotFoundError:
        return ""


def built_hashes() -> dict[str, str]:
    """What this environment's messages were built from; empty where this program has built none."""
    return json.loads(STAMP.read_text()) if STAMP.exists() else {}


def outdated_packages() -> list[str]:
    """Packages to build: missing, or built here from other definitions. A real package from elsewhere is left alone."""
    built = built_hashes()
    return [package for package in PACKAGES if _is_outdated(package, built)]


def _is_outdated(package: str, built: dict[str, str]) -> bool:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return True
    from_here = package in built and Path(spec.origin).is_relative_to(sys.prefix)
    return from_here and built[package] != definitions_hash(source_folder(package))


def point_includes_here(prefix: Path = Path(sys.prefix)) -> int:
    """Rewrites the include folders in the wheels' cmake files to this machine's; returns how many files changed.

    The wheels carry absolute paths of the machine that built them: <anywhere>/cp311-cp311/include/python3.11.
    """
    import numpy

    python_include = sysconfig.get_path("include")
    changed = 0
    for path in prefix.glob("share/*/cmake/*_pyExport.cmake"):
        text = path.read_text()
        here = re.sub(r'[^";]*/cp3\d+-cp3\d+t?/include/python3\.\d+t?', python_include, text)
        here = re.sub(r'[^";]*/cp3\d+-cp3\d+t?/[^";]*/numpy/_?core/include', numpy.get_include(), here)
        if here != text:
            path.write_text(here)
            changed += 1
    return changed


def check_tools() -> None:
    """Raises MessageBuildError that names every missing tool and the command that installs it."""
    missing = [tool for tool in ("cmake", "g++") if shutil.which(tool, path=_search_path()) is None]
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    if missing:
        raise MessageBuildError(
            f"the messages need {', '.join(missing)}; run: sudo apt-get install -y {' '.join(missing)}"
        )
    if importlib.util.find_spec("rosidl_generator_py") is None or not _share("rosidl_default_generators").exists():
        raise MessageBuildError('the message generators are missing; run: make setup (or pip install ".[ros]")')


def _share(package: str) -> Path:
    return Path(sys.prefix) / "share" / package


def build(packages: list[str]) -> None:
    """Builds and installs the packages into sys.prefix; raises MessageBuildError with the compiler's last words."""
    check_tools()
    point_includes_here()
    _record(dict.fromkeys(packages, "unfinished"))  # what an interrupt leaves behind is not taken for a real package
    with tempfile.TemporaryDirectory(prefix="rsd_messages_") as scratch, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda package: build_one(source_folder(package), Path(scratch) / package), packages))
    _record({package: definitions_hash(source_folder(package)) for package in packages})


def _record(hashes: dict[str, str]) -> None:
    STAMP.parent.mkdir(parents=True, exist_ok=True)
    STAMP.write_text(json.dumps(built_hashes() | hashes, indent=1))


def build_one(folder: Path, scratch: Path, prefix: Path = Path(sys.prefix)) -> None:
    """Builds one package of messages in `scratch` and installs it into `prefix`."""
    source, binary = scratch / "source", scratch / "build"
    # cmake refuses a source folder that contains the environment, as a checkout with its .venv does.
    shutil.copytree(folder / "msg", source / "msg")
    for file in ("CMakeLists.txt", "package.xml"):
        shutil.copy(folder / file, source)
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_INSTALL_PREFIX": str(prefix),
        "Python3_EXECUTABLE": sys.executable,
        "RSD_PYTHON_MESSAGES_ONLY": "ON",
        "BUILD_TESTING": "OFF",
    }
    definitions = [f"-D{key}={value}" for key, value in options.items()]
    _run("cmake", "-S", str(source), "-B", str(binary), *generator, *definitions)
    _run("cmake", "--build", str(binary), "--parallel", str(os.cpu_count() or 1))
    _run("cmake", "--install", str(binary))


def _search_path() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def _run(*command: str) -> None:
    environment = os.environ | {"AMENT_PREFIX_PATH": sys.prefix, "CMAKE_PREFIX_PATH": sys.prefix}
    environment["PATH"] = _search_path()
    try:
        result = subprocess.run(
            command, check=False, env=environment, stdin=subprocess.DEVNULL, timeout=BUILD_SECONDS,
            capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise MessageBuildError(f"{' '.join(command)} did not end within {BUILD_SECONDS} s") from error
    if result.returncode:
        tail = "\n".join((result.stdout + result.stderr).splitlines()[-30:])
        raise MessageBuildError(f"{' '.join(command)} failed with exit code {result.returncode}:\n{tail}")


def main() -> int:
    """Command line; exit code 1 with a sentence on stderr when the messages could not be built."""
    parser = argparse.ArgumentParser(description="Build the ROS messages into this Python's environment.")
    parser.add_argument("--force", action="store_true", help="build even when nothing has changed")
    forced = parser.parse_args().force
    packages = sorted({*outdated_packages(), *(built_hashes() if forced else ())})
    try:
        if packages:
            print(f"building messages: {', '.join(packages)}", flush=True)
            build(packages)
    except MessageBuildError as error:
        print(error, file=sys.stderr)
        return 1
    print("messages are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
