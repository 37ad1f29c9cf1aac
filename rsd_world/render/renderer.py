"""The renderer: a town and a camera rig in, one picture per camera out."""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass
from types import TracebackType

import cv2
import numpy as np
from panda3d import core

from rsd_model.contracts import CameraRig
from rsd_model.geometry import pose_matrix
from rsd_world.render.moving import Actors, Signals, ego_as_actor
from rsd_world.render.offscreen import StackedBuffer, panda_matrix
from rsd_world.render.scene import Scene
from rsd_world.render.shading import DEPTH_STEPS, FAR
from rsd_world.render.weather import Look, look_of
from rsd_world.roads.town import Town
from rsd_world.state import EgoVehicle, Snapshot

OUTPUTS = ("rgb", "depth", "instance")


@dataclass(frozen=True)
class RenderedFrame:
    """The pictures of all cameras at one instant, in the rig's order; row 0 is at the top."""

    rgb: np.ndarray  # (N, H, W, 3) uint8 RGB
    depth: (
        np.ndarray | None
    )  # (N, H, W) float32 m along the optical axis, in steps of 2.3 mm; inf beyond 150 m and in the sky
    instance: np.ndarray | None  # (N, H, W) uint16 actor id, 0 = no actor


class Renderer:
    """Draws snapshots of one town through one rig. Same snapshot, same pixels on one machine.

    Several may live in one process; `close` (or a `with` block) gives the buffers back.
    """

    def __init__(self, town: Town, rig: CameraRig, outputs: tuple[str, ...] = ("rgb",), draw_ego: bool = False) -> None:
        """`outputs` is a subset of rgb, depth, instance; rgb is always made. `draw_ego` is for cameras outside the ego.

        Raises ValueError for an unknown output or cameras of several sizes, GraphicsUnavailableError without EGL.
        """
        unknown = set(outputs) - set(OUTPUTS)
        if unknown:
            raise ValueError(f"outputs {sorted(unknown)} are unknown; choose among {', '.join(OUTPUTS)}")
        self.rig, self.outputs = rig, tuple(outputs)
        self._draw_ego = draw_ego
        self._weather = "clear"
        self._look = look_of(self._weather)
        self._scene = Scene(town, self._look)
        self._mount = self._scene.root.attach_new_node("base_link")
        self._sky, self._rain = self._scene.add_sky(), self._scene.add_rain()
        self._actors = Actors(self._scene)
        self._signals = Signals(town, self._scene)
        self._buffer = StackedBuffer(rig, self._scene.root, self._mount, aux=bool({"depth", "instance"} & set(outputs)))
        self._apply_look()

    @property
    def driver(self) -> str:
        """The OpenGL driver that draws, for benchmark records."""
        return self._buffer.driver

    def render(self, snapshot: Snapshot) -> RenderedFrame:
        """Draw one instant. Raises ValueError for an unknown weather, RuntimeError after `close`."""
        self._buffer.check()
        if snapshot.weather.name != self._weather:
            self._set_weather(snapshot.weather.name)
        ego = snapshot.ego
        self._place_ego(ego, snapshot.time)
        actors = (*snapshot.actors, ego_as_actor(ego))
        hidden = frozenset() if self._draw_ego else frozenset({0})
        self._actors.update(actors, hidden, snapshot.time, self._look, self._scene.ground_map)
        self._signals.update(snapshot.lights)
        return self._frame(*self._buffer.render())

    def _frame(self, color: np.ndarray, aux: np.ndarray | None) -> RenderedFrame:
        buffer = self._buffer
        shape = (buffer.count, buffer.height, buffer.width)
        rgb = cv2.cvtColor(color, cv2.COLOR_BGRA2RGB).reshape(*shape, 3)
        depth = instance = None
        if aux is not None:
            words = aux.view("<u2").reshape(*shape, 2)
            instance = words[..., 0].copy() if "instance" in self.outputs else None
            depth = _metres(words[..., 1]) if "depth" in self.outputs else None
        return RenderedFrame(rgb, depth, instance)

    def _place_ego(self, ego: EgoVehicle, time: float) -> None:
        self._mount.set_mat(panda_matrix(pose_matrix(ego.position, ego.yaw)))
        x, y, z = map(float, ego.position)
        self._sky.set_pos(x, y, z)
        self._rain.set_pos(x, y, z)
        look = self._scene.look
        look.set_element(6, core.LVecBase4f(x, y, np.cos(ego.yaw), np.sin(ego.yaw)))
        look.set_element(7, core.LVecBase4f(time % 1000.0, z, min(1.0, 2.0 * self._look.lamps), 0.0))

    def _set_weather(self, name: str) -> None:
        self._look = look_of(name)
        self._weather = name
        self._apply_look()

    def _apply_look(self) -> None:
        self._scene.relight(self._look)
        for row, values in enumerate(look_rows(self._look)):
            self._scene.look.set_element(row, core.LVecBase4f(*map(float, values)))
        self._rain.show() if self._look.rain > 0.0 else self._rain.hide()

    def close(self) -> None:
        """Give the graphics memory back; the renderer is of no use afterwards."""
        self._buffer.close()
        self._scene.root.remove_node()
        for states in (core.RenderState, core.TransformState):  # their caches keep this scene's textures alive
            states.clear_cache()
            states.garbage_collect()
        _give_memory_back()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _give_memory_back() -> None:
    """Nothing of a closed scene is held, but its freed blocks lie scattered: glibc keeps their pages unless told."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def look_rows(look: Look) -> list[tuple]:
    """Rows 0 to 5 of the shaders' `look` array."""
    return [
        (*look.sun_direction, look.wetness),
        (*look.sun, look.rain),
        (*look.sky_light, look.lamps),
        (*look.ground_light, look.fog),
        (*look.zenith, look.clouds),
        (*look.horizon, FAR),
    ]


def _metres(steps: np.ndarray) -> np.ndarray:
    depth = steps.astype(np.float32)
    depth *= FAR / DEPTH_STEPS
    depth[steps >= DEPTH_STEPS] = np.inf
    return depth
