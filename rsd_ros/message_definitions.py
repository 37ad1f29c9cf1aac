"""Full text of a message type, as MCAP stores it so that readers need no ROS install."""

from __future__ import annotations

import re
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

_PRIMITIVES = {
    "bool", "byte", "char", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
    "uint64", "string", "wstring",
}  # fmt: skip
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+\w+\s*(?!=)")


def _own_text(full_name: str) -> str:
    package, _, name = full_name.split("/")
    return (Path(get_package_share_directory(package)) / "msg" / f"{name}.msg").read_text()


def _dependencies(full_name: str, text: str) -> list[str]:
    names = []
    for line in text.splitlines():
        match = _FIELD.match(line.split("#")[0])
        if not match or match.group(1) in _PRIMITIVES:
            continue
        parts = match.group(1).split("/")
        package = parts[0] if len(parts) > 1 else full_name.split("/")[0]
        names.append(f"{package}/msg/{parts[-1]}")
    return names


def message_definition(full_name: str) -> str:
    """Definition of `package/msg/Type` with those of all nested types behind it (MCAP's `ros2msg` encoding).

    Raises LookupError (ament) or FileNotFoundError when the package or the type is not installed.
    """
    texts: dict[str, str] = {}
    open_names = [full_name]
    while open_names:
        name = open_names.pop(0)
        if name not in texts:
            texts[name] = _own_text(name)
            open_names += _dependencies(name, texts[name])
    head = texts.pop(full_name)
    separator = "=" * 80
    return head + "".join(f"\n{separator}\nMSG: {n.replace('/msg/', '/')}\n{t}" for n, t in texts.items())
