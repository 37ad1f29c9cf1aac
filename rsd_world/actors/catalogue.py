"""Makes and colours of actors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_world.state import ActorKind

COLORS = (
    (0.75, 0.75, 0.76), (0.05, 0.05, 0.06), (0.35, 0.36, 0.38), (0.5, 0.03, 0.03), (0.03, 0.08, 0.35),
    (0.6, 0.6, 0.55), (0.02, 0.2, 0.08), (0.55, 0.3, 0.04),
)  # fmt: skip
CLOTHES = (
    (0.1, 0.12, 0.3), (0.4, 0.05, 0.05), (0.08, 0.25, 0.1), (0.5, 0.45, 0.1), (0.3, 0.3, 0.32), (0.6, 0.55, 0.5),
)  # fmt: skip


@dataclass(frozen=True)
class Blueprint:
    """A make of actor."""

    kind: ActorKind
    size: tuple[float, float, float]  # length, width, height, m
    speed_factor: float = 1.0  # of the speed limit that it drives
    top_speed: float = 40.0  # m/s


VEHICLES = (
    (0.28, Blueprint(ActorKind.CAR, (4.50, 1.82, 1.48))),
    (0.22, Blueprint(ActorKind.CAR, (4.79, 1.90, 1.62), 0.97)),
    (0.20, Blueprint(ActorKind.CAR, (3.85, 1.68, 1.50), 0.95)),
    (0.12, Blueprint(ActorKind.VAN, (5.35, 2.00, 2.30), 0.92)),
    (0.08, Blueprint(ActorKind.TRUCK, (7.60, 2.40, 3.20), 0.85)),
    (0.10, Blueprint(ActorKind.BICYCLE, (1.75, 0.60, 1.75), 0.8, 6.0)),
)
CAR = VEHICLES[0][1]
AMBULANCE = Blueprint(ActorKind.AMBULANCE, (5.90, 2.05, 2.60), 1.5)
PEDESTRIAN_SIZE = (0.45, 0.55, 1.75)
CHILD_SIZE = (0.35, 0.42, 1.30)
CONE_SIZE = (0.40, 0.40, 0.75)
BARRIER_SIZE = (0.60, 2.40, 1.10)


def pick_vehicle(rng: np.random.Generator, cars_only: bool = False) -> Blueprint:
    """A make by its share on the road."""
    choices = [(share, b) for share, b in VEHICLES if not cars_only or b.kind is ActorKind.CAR]
    shares = np.array([share for share, _ in choices])
    return choices[rng.choice(len(choices), p=shares / shares.sum())][1]


def pick_color(rng: np.random.Generator, kind: ActorKind) -> tuple[float, float, float]:
    """Linear RGB of the paint or the clothes."""
    palette = CLOTHES if kind in (ActorKind.PEDESTRIAN, ActorKind.BICYCLE) else COLORS
    return palette[rng.integers(len(palette))]
