"""Who drives in an in-process drive: the expert, the student network, or a blind route follower as the floor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rsd_model.contracts import PLAN_STEP_SECONDS, PLAN_STEPS, CameraRig, FrameSet, PlannerOutput, VehicleControl
from rsd_model.control import FollowerParameters, TrajectoryFollower
from rsd_model.inference import PlannerRuntime
from rsd_model.safeguards import Safeguards
from rsd_world.expert.expert import Expert
from rsd_world.render.renderer import Renderer
from rsd_world.world import World


class Policy(Protocol):
    """Drives one world from its first tick to its end."""

    name: str

    def start(self, world: World) -> None:
        """A new drive begins in `world`."""

    def act(self, world: World) -> VehicleControl:
        """The command for the next tick."""


class ExpertPolicy:
    """The privileged rule-based driver."""

    name = "expert"

    def start(self, world: World) -> None:
        self._expert = Expert(world)

    def act(self, world: World) -> VehicleControl:
        return self._expert.plan().control


class RouteFollowerPolicy:
    """Follows the route at one speed and sees nothing: what any learned driver has to beat."""

    name = "constant speed"

    def __init__(self, speed: float = 6.0) -> None:
        self.speed = speed  # m/s

    def start(self, world: World) -> None:
        self._follower = TrajectoryFollower()

    def act(self, world: World) -> VehicleControl:
        route = world.route_ahead()
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(route, axis=0), axis=1))])
        wanted = self.speed * PLAN_STEP_SECONDS * np.arange(1, PLAN_STEPS + 1)
        trajectory = np.stack([np.interp(wanted, along, route[:, k]) for k in range(2)], axis=1)
        return self._follower.control(trajectory, world.ego_state().speed)


def frame_set(world: World, rig: CameraRig, images: Sequence[np.ndarray]) -> FrameSet:
    """What the planner is given at this instant: its rendered images, ego state, command and route; nothing else."""
    count = len(images)
    ego = world.ego_state()
    return FrameSet(
        stamp=ego.stamp,
        images=tuple(images),
        stamps=np.full(count, ego.stamp),
        valid=np.ones(count, bool),
        rig=rig,
        ego=ego,
        command=world.command(),
        route=world.route_ahead(),
    )


class StudentPolicy:
    """The network, from rendered images; between two plans the last one is followed further along."""

    name = "student"

    def __init__(
        self,
        runtime: PlannerRuntime,
        renderer: Renderer,
        plan_every: int = 1,
        emergency_brake: bool = True,
        stop_signs: bool = True,
    ) -> None:
        self.runtime = runtime
        self.renderer = renderer
        self.safeguards = Safeguards(emergency_brake, stop_signs)
        self.plan_every = plan_every  # ticks
        self.output: PlannerOutput | None = None

    def start(self, world: World) -> None:
        self.runtime.reset()
        self._follower = TrajectoryFollower(FollowerParameters())
        self._tick = 0
        self.stops: list[str] = []  # when and why it was stopped short of the network's plan
        self.safeguards.reset()

    def act(self, world: World) -> VehicleControl:
        if self._tick % self.plan_every == 0:
            self.output = self._plan(world)
        self._tick += 1
        assert self.output is not None
        age = world.ego_state().stamp - self.output.stamp
        return self._follower.control(self.output.trajectory, world.ego_state().speed, age)

    def _plan(self, world: World) -> PlannerOutput:
        frame = frame_set(world, self.renderer.rig, self.renderer.render(world.snapshot).rgb)
        output = self.safeguards.check(self.runtime.plan(frame), frame)
        if output.stop_reason:
            self.stops.append(f"{output.stamp:.1f} s {output.stop_reason}")
        return output
