"""Plain YAML data to validated dataclasses: every wrong key or value is told with what was allowed."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """A configuration that cannot be used; the message quotes file, key, value and what is allowed."""


def check(condition: bool, key: str, value: object, allowed: str) -> None:
    """Raises ConfigError about `key` unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{key} = {value!r}: allowed is {allowed}")


def read_yaml(path: Path) -> Any:
    """Content of a YAML file; raises ConfigError where it cannot be read."""
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None


def build(kind: type, values: Any, source: str) -> Any:
    """Dataclass `kind` from nested mappings; raises ConfigError that names `source`, the key and what was allowed."""
    try:
        return _build(kind, values, "")
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _build(kind: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix or 'the file'} = {values!r}: allowed is a mapping of keys")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise ConfigError(f"unknown key {prefix}{key} = {values[key]!r}: allowed are {', '.join(sorted(hints))}")
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise ConfigError(f"{prefix}{field.name} is missing")
    return kind(**{key: _convert(hints[key], value, f"{prefix}{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, key: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        if value is None:
            return None
        hint = typing.get_args(hint)[0]
        origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, f"{key}.")
    if origin is tuple:
        check(isinstance(value, list | tuple), key, value, "a list")
        return tuple(_convert(typing.get_args(hint)[0], item, f"{key}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        check(isinstance(value, dict), key, value, "a mapping of keys")
        kind = typing.get_args(hint)[1]
        return value if kind is Any else {k: _convert(kind, v, f"{key}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    check(type(value) is hint, key, value, hint.__name__)
    return value
