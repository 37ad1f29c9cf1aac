"""Settings under which Fast DDS carries camera images without losing them, and a check that they hold."""

from __future__ import annotations

import os
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from rsd_model.resources import config_path

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Fast DDS 2 (Jazzy), 3
DEFAULT_SEGMENT = 512 * 1024  # bytes, Fast DDS without a profile
SETS_IN_FLIGHT = 2  # one set is read while the next is written
MALLOC_SETTINGS = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"}
SHARED_MEMORY = Path("/dev/shm")


def transport_environment() -> dict[str, str]:
    """Environment for a node's process: what the user has set, else our profile and malloc settings.

    Both are read when a process starts: pass it to child processes, changing os.environ comes too late.
    """
    return {profile_variable(): str(config_path("fastdds.xml"))} | MALLOC_SETTINGS | dict(os.environ)


def transport_warnings(images: int, bytes_per_image: int) -> list[str]:
    """Why a set of so many images may get lost on its way, one sentence each with the remedy; empty when all is well.

    The segment that counts is the sender's. On one machine it usually runs under the same settings as the receiver.
    """
    if "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return []
    variable = profile_variable()
    profile = os.environ.get(variable, "")
    if profile and not Path(profile).is_file():
        return [f"{variable} names {profile}, which does not exist; {_remedy(variable)}"]
    segment = segment_size(Path(profile)) if profile else DEFAULT_SEGMENT
    needed = images * bytes_per_image * SETS_IN_FLIGHT
    warnings = []
    if segment < needed:
        source = profile or "no Fast DDS profile is set, whose default"
        warnings.append(
            f"shared-memory segment of {segment / 1e6:.1f} MB ({source}) is smaller than the {needed / 1e6:.1f} MB of "
            f"{SETS_IN_FLIGHT} sets of {images} images: images get lost; {_remedy(variable)}"
        )
    free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.exists() else 0
    if free < segment:
        warnings.append(
            f"{SHARED_MEMORY} has {free / 1e6:.1f} MB left, less than one segment of {segment / 1e6:.1f} MB; "
            f"remove stale {SHARED_MEMORY}/fastrtps_* files, or give a container more (docker run --shm-size=1g)"
        )
    return warnings


def profile_variable() -> str:
    """The environment variable in which the installed Fast DDS looks for its profile."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    is_version_2 = any((Path(prefix) / "lib" / "libfastrtps.so").exists() for prefix in prefixes)
    return PROFILE_VARIABLES[0] if is_version_2 else PROFILE_VARIABLES[1]


def segment_size(profile: Path) -> int:
    """Bytes of the shared-memory segment that a Fast DDS profile asks for; the default where it does not say."""
    try:
        tree = ElementTree.parse(profile)
    except (ElementTree.ParseError, OSError):
        return DEFAULT_SEGMENT
    sizes = [int(node.text or 0) for node in tree.iter() if node.tag.rpartition("}")[2] == "segment_size"]
    return max(sizes, default=DEFAULT_SEGMENT)


def _remedy(variable: str) -> str:
    return f"set {variable}={config_path('fastdds.xml')} before the nodes start, as make and the launch files do"
