"""Declaring a node's parameters: each with default, description, range or choices, checked at start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


@dataclass(frozen=True)
class Parameter:
    """One parameter as `ros2 param describe` shows it. `low` and `high` bound numbers, `choices` strings."""

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def descriptor(self) -> ParameterDescriptor:
        """Descriptor with the range that rclpy enforces."""
        descriptor = ParameterDescriptor(name=self.name, description=self.description)
        if self.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(self.choices)
        if self.low is not None and isinstance(self.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(self.low), to_value=float(self.high))
            ]
        elif self.low is not None:
            descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        return descriptor


def declare(node: Node, parameters: Sequence[Parameter]) -> None:
    """Declare all of `parameters`; rclpy raises on a value of another type or out of range."""
    for parameter in parameters:
        node.declare_parameter(parameter.name, parameter.default, parameter.descriptor())


def read(node: Node, parameters: Sequence[Parameter]) -> SimpleNamespace:
    """The present values as attributes; raises ValueError on a string that is none of its choices."""
    values = SimpleNamespace()
    for parameter in parameters:
        value = node.get_parameter(parameter.name).value
        if parameter.choices and value not in parameter.choices:
            raise ValueError(
                f"parameter {parameter.name} is '{value}', expected one of: {', '.join(parameter.choices)}"
            )
        setattr(values, parameter.name, list(value) if isinstance(parameter.default, list) else value)
    return values
