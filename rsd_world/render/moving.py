"""What moves or changes: actors with their shadows, and the lamps of traffic lights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from panda3d import core

from rsd_world.render import people, signals, vehicles
from rsd_world.render.glow import vehicle_glow
from rsd_world.render.ground_map import GroundMap, sun_casts_shadows
from rsd_world.render.mesh import Mesh, geom_node
from rsd_world.render.scene import HALO, SHADOW, Scene, blended, vectors
from rsd_world.render.weather import Look
from rsd_world.roads.signal_heads import arm_reach
from rsd_world.roads.town import Town
from rsd_world.state import ActorKind, ActorState, EgoVehicle, LightState

MESHES: dict[ActorKind, Callable[[tuple[float, float, float]], Mesh]] = {
    ActorKind.CAR: vehicles.car,
    ActorKind.VAN: vehicles.van,
    ActorKind.TRUCK: vehicles.truck,
    ActorKind.AMBULANCE: lambda size: vehicles.van(size, ambulance=True),
    ActorKind.BICYCLE: people.bicycle,
    ActorKind.PEDESTRIAN: people.pedestrian,
    ActorKind.TRAFFIC_CONE: people.traffic_cone,
    ActorKind.BARRIER: people.barrier,
}
BLINK_HZ, SIREN_HZ = 1.5, 4.0
SHADOW_STRENGTH = {True: 0.52, False: 0.40}  # with and without a sun that casts it
LONGEST_SHADOW = 6.0  # m
LIGHTS_FIRST = 1_000_000  # drawn before all actors


def ego_as_actor(ego: EgoVehicle) -> ActorState:
    """The ego as something that can be drawn; id 0, so that it stays out of the instance image."""
    heading = np.array([np.cos(ego.yaw), np.sin(ego.yaw)])
    return ActorState(
        0,
        ActorKind.CAR,
        ego.position,
        ego.yaw,
        ego.size,
        ego.speed * heading,
        color=(0.02, 0.10, 0.42),
        braking=ego.acceleration < -0.8,
    )


@dataclass(frozen=True)
class _Shape:
    """What is drawn of an actor of one kind and size."""

    body: core.GeomNode | None  # None: only its shadow
    glow: core.GeomNode | None  # of its lamps


class _Drawn:
    """One actor in the scene."""

    def __init__(self, key: tuple, shape: _Shape, shadow: core.GeomNode, scene: Scene, actor: ActorState) -> None:
        self.key = key
        self.state: ActorState | None = None
        self.look: Look | None = None
        self.pose: tuple | None = None
        self.uniforms, self.shade = vectors(3), vectors(3)
        parts = {"actor": shape.body, "shadow": shadow, "halo": shape.glow}
        # Sorted by id, so that the order in which actors appeared does not show.
        self._nodes = {
            material: scene.material(material).attach_new_node(node.make_copy(), actor.id)
            for material, node in parts.items() if node is not None
        }  # fmt: skip
        for material, node in self._nodes.items():
            node.set_shader_input("actor", self.shade if material == "shadow" else self.uniforms)
        ground = blended(self._nodes["shadow"], SHADOW).node()
        ground.set_bounds(core.BoundingSphere((0, 0, 0), math.hypot(*actor.size[:2]) + LONGEST_SHADOW))
        ground.set_final(True)
        if shape.glow is not None:
            blended(self._nodes["halo"], HALO)

    def shine(self, lamps: bool) -> None:
        """Show the glow of the lamps, or not."""
        if "halo" in self._nodes:
            self._nodes["halo"].show() if lamps else self._nodes["halo"].hide()

    def place(self, actor: ActorState) -> None:
        pose = (*map(float, actor.position), float(np.degrees(actor.yaw)))
        if pose != self.pose:
            for node in self._nodes.values():
                node.set_pos_hpr(*pose, 0.0, 0.0)
            self.pose = pose

    def remove(self) -> None:
        for node in self._nodes.values():
            node.remove_node()


class Actors:
    """Keeps one drawn thing per actor of the snapshot, made when it appears and removed when it leaves."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._shapes: dict[tuple, _Shape] = {}
        self._shadow = geom_node(_shadow_quad(), "shadow")
        self._drawn: dict[int, _Drawn] = {}

    def update(
        self, actors: tuple[ActorState, ...], hidden: frozenset[int], time: float, look: Look, ground_map: GroundMap
    ) -> None:
        """Bring the scene to these actors; those in `hidden` throw a shadow only."""
        for gone in self._drawn.keys() - {actor.id for actor in actors}:
            self._drawn.pop(gone).remove()
        if not actors:
            return
        spots = ground_map.at(np.array([actor.position for actor in actors]))
        for actor, spot in zip(actors, spots, strict=True):
            drawn = self._of(actor, actor.id in hidden)
            if drawn.state is actor and drawn.look is look and not (actor.blinker or actor.siren):
                continue  # what stands comes as the same object again
            if drawn.look is not look:
                drawn.shine(look.lamps > 0.2)
            drawn.state, drawn.look = actor, look
            drawn.place(actor)
            _set_uniforms(drawn.uniforms, actor, time, look, spot)
            _set_shadow(drawn.shade, actor, look, float(spot[0]))

    def _of(self, actor: ActorState, hidden: bool) -> _Drawn:
        drawn = self._drawn.get(actor.id)
        key = (actor.kind, actor.size, hidden)
        if drawn is not None and drawn.key == key:
            return drawn
        if drawn is not None:
            drawn.remove()
        if key not in self._shapes:
            self._shapes[key] = _Shape(None, None) if hidden else _shape_of(actor)
        drawn = self._drawn[actor.id] = _Drawn(key, self._shapes[key], self._shadow, self._scene, actor)
        return drawn


def _shape_of(actor: ActorState) -> _Shape:
    length, width, height = map(float, actor.size)
    mesh = MESHES[actor.kind]((length, width, height))
    lights = vehicle_glow(mesh)
    glow = geom_node(lights, "glow") if len(lights.position) else None
    return _Shape(geom_node(mesh, actor.kind.value), glow)


def _set_uniforms(uniforms: core.PTA_LVecBase4f, actor: ActorState, time: float, look: Look, spot: np.ndarray) -> None:
    blink = 1.0 if (time * BLINK_HZ) % 1.0 < 0.5 else 0.0
    siren = (0.8 if (time * SIREN_HZ) % 1.0 < 0.5 else 0.4) if actor.siren else 0.0
    r, g, b = actor.color
    uniforms.set_element(0, core.LVecBase4f(r, g, b, float(actor.id)))
    uniforms.set_element(
        1, core.LVecBase4f(float(actor.braking), blink * (actor.blinker > 0), blink * (actor.blinker < 0), siren)
    )
    sunlit = 0.15 + 0.85 * float(spot[0])
    uniforms.set_element(2, core.LVecBase4f(actor.door_open, actor.phase, sunlit, 0.8 * float(spot[1])))


def _set_shadow(shade: core.PTA_LVecBase4f, actor: ActorState, look: Look, sunlit: float) -> None:
    length, width, height = actor.size
    sunny = sun_casts_shadows(look) and sunlit > 0.5
    x, y = _throw(actor.yaw, height, look) if sunny else (0.0, 0.0)
    softness = 0.12 if sunny else min(0.5, 0.3 * width)
    shade.set_element(0, core.LVecBase4f(0.47 * length, 0.47 * width, x, y))
    shade.set_element(1, core.LVecBase4f(SHADOW_STRENGTH[sunny], softness, 0.0, 0.0))


def _throw(yaw: float, height: float, look: Look) -> tuple[float, float]:
    """Where the top's shadow falls, m in the actor's frame."""
    reach = min(0.8 * height / max(math.tan(look.sun_elevation), 0.12), LONGEST_SHADOW)
    away = look.sun_azimuth + math.pi - yaw
    return reach * math.cos(away), reach * math.sin(away)


def _shadow_quad() -> Mesh:
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    return Mesh(
        corners, np.tile([0.0, 0.0, 1.0], (4, 1)), np.zeros((4, 3)), np.zeros((4, 4)), np.array([[0, 1, 2], [0, 2, 3]])
    )


class Signals:
    """The traffic lights of a town; their lamps follow the snapshot."""

    def __init__(self, town: Town, scene: Scene) -> None:
        self._uniforms: dict[int, core.PTA_LVecBase4f] = {}
        self._spots = scene.ground_map
        for light in town.lights:
            reach = arm_reach(town, light)
            uniforms = self._uniforms[light.id] = vectors(3)
            for mesh, material in ((signals.signal_mesh(reach), "actor"), (signals.halo_mesh(reach), "halo")):
                node = scene.material(material).attach_new_node(
                    geom_node(mesh, f"light-{light.id}"), light.id - LIGHTS_FIRST
                )
                if material == "halo":
                    blended(node, HALO)
                node.set_pos_hpr(*map(float, light.position), float(np.degrees(light.yaw)), 0.0, 0.0)
                node.set_shader_input("actor", uniforms)

    def update(self, states: dict[int, LightState]) -> None:
        """Light the lamps; a light that the snapshot does not name is off."""
        for light, uniforms in self._uniforms.items():
            state = states.get(light, LightState.OFF)
            on = [float(state == s) for s in (LightState.RED, LightState.YELLOW, LightState.GREEN)]
            uniforms.set_element(0, core.LVecBase4f(1, 1, 1, 0))
            uniforms.set_element(1, core.LVecBase4f(*on, 0.0))
            uniforms.set_element(2, core.LVecBase4f(0, 0, 1, 0))
