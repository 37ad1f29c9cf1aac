"""Contact of the ego's box with actors, buildings and street furniture."""

from __future__ import annotations

import numpy as np

from rsd_world.actors.boxes import box_corners_2d, boxes_overlap, door_place
from rsd_world.infractions import Infraction, InfractionKind
from rsd_world.roads.town import Town
from rsd_world.rules.moment import Moment
from rsd_world.state import ActorKind, ActorState

NEAR = 12.0  # m between centres, beyond it nothing touches
PROP_SIZES = {"tree": 0.5, "lamp": 0.3, "sign": 0.2, "bench": 1.0}  # m, footprint; a bush gives way
SAME_CONTACT = 5.0  # s, contacts with one thing within it are one event (as CARLA's criterion counts)
_STATIC = (ActorKind.TRAFFIC_CONE, ActorKind.BARRIER)


def _door_box(actor: ActorState) -> np.ndarray:
    """(4, 2) corners in m, map, of the open left front door."""
    center, yaw, size = door_place(actor)
    return box_corners_2d(center[None], np.array([yaw]), np.array([size]))[0]


class CollisionRule:
    """Reports a contact once, until the two have been apart for SAME_CONTACT s."""

    def __init__(self, town: Town) -> None:
        props = [p for p in town.props if p.kind in PROP_SIZES]
        self._names = [*("building" for _ in town.buildings), *(p.kind for p in props)]
        self._centers = np.array([*(b.center[:2] for b in town.buildings), *(p.position[:2] for p in props)]).reshape(
            -1, 2
        )
        yaws = np.array([*(b.yaw for b in town.buildings), *(p.yaw for p in props)])
        sizes = [*(b.size[:2] for b in town.buildings), *((PROP_SIZES[p.kind],) * 2 for p in props)]
        sizes = np.array(sizes, float).reshape(-1, 2)
        self._corners = box_corners_2d(self._centers, yaws, sizes)
        self._radius = 0.5 * np.linalg.norm(sizes, axis=1)
        self._last: dict[tuple[str, int], float] = {}  # s, when each was touched last

    def check(self, moment: Moment) -> list[Infraction]:
        """New contacts of this step."""
        ego = moment.ego
        box = box_corners_2d(ego.position[None, :2], np.array([ego.yaw]), np.array([ego.size[:2]]))[0]
        now = {("static", k): None for k in self._static_contacts(ego.position[:2], box)}
        now |= {("actor", a.id): a for a in _actor_contacts(moment.actors, ego.position[:2], box)}
        self._last = {key: time for key, time in self._last.items() if moment.time - time < SAME_CONTACT}
        fresh = [self._infraction(moment, key, actor) for key, actor in now.items() if key not in self._last]
        self._last.update(dict.fromkeys(now, moment.time))
        return fresh

    def clear(self) -> None:
        """Forget contacts: the ego was put somewhere else."""
        self._last.clear()

    def _static_contacts(self, position: np.ndarray, box: np.ndarray) -> np.ndarray:
        if not len(self._centers):
            return np.zeros(0, int)
        near = np.flatnonzero(((self._centers - position) ** 2).sum(-1) < (self._radius + 4.0) ** 2)
        return near[boxes_overlap(box, self._corners[near])]

    def _infraction(self, moment: Moment, key: tuple[str, int], actor: ActorState | None) -> Infraction:
        name = self._names[key[1]] if actor is None else actor.kind.value
        if actor is None or actor.kind in _STATIC:
            kind = InfractionKind.COLLISION_STATIC
        elif actor.kind is ActorKind.PEDESTRIAN:
            kind = InfractionKind.COLLISION_PEDESTRIAN
        else:
            kind = InfractionKind.COLLISION_VEHICLE
        detail = f"collided with {name} {key[1]} at {moment.ego.speed:.1f} m/s"
        return Infraction(kind, moment.time, moment.ego.position, detail, actor=key[1] if actor is not None else None)


def _actor_contacts(actors: object, position: np.ndarray, box: np.ndarray) -> list[ActorState]:
    near = [a for a in actors if abs(a.position[0] - position[0]) < NEAR and abs(a.position[1] - position[1]) < NEAR]
    if not near:
        return []
    corners = box_corners_2d(
        np.array([a.position[:2] for a in near]), np.array([a.yaw for a in near]), np.array([a.size[:2] for a in near])
    )
    hit = boxes_overlap(box, corners)
    for k, actor in enumerate(near):
        if actor.door_open > 0.05 and not hit[k]:
            hit[k] = boxes_overlap(box, _door_box(actor)[None])[0]
    return [a for a, h in zip(near, hit, strict=True) if h]
