"""Contracts in, messages out: what the planner publishes of a `PlannerOutput`. Pure functions, no graph.

Every message carries the header it is given: stamp of the images, frame base_link.
"""

from __future__ import annotations

import array

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Vector3
from nav_msgs.msg import OccupancyGrid, Path
from std_msgs.msg import Header

from rsd_model.contracts import (
    OBJECT_CLASSES,
    PLAN_STEP_SECONDS,
    Command,
    DetectedObjects,
    PlannerOutput,
)
from rsd_model.contracts import RiskGrid as RiskGridContract
from rsd_ros.compat.messages import (
    CandidateTrajectory,
    PlannedTrajectory,
    PredictedPath,
    RiskGrid,
    RiskObject,
    RiskObjectArray,
)
from rsd_ros.conversions import InvalidInput, yaw_quaternion

MAX_REACH = 300.0  # m; a trajectory point beyond it is no plan of 3 s


def check_output(output: PlannerOutput) -> None:
    """Raises InvalidInput where the network's trajectory is not finite or leaves all bounds: it must not be driven."""
    for name, points in (("trajectory", output.trajectory), ("candidate trajectories", output.trajectories)):
        if not np.isfinite(points).all() or np.abs(points).max(initial=0.0) > MAX_REACH:
            raise InvalidInput(f"the network's {name} holds values that are not finite or beyond {MAX_REACH:g} m")


def points_of(positions: np.ndarray, z: float = 0.0) -> list[Point]:
    """Point messages of (P, 2) m."""
    return [Point(x=x, y=y, z=z) for x, y in positions.tolist()]


def headings_of(trajectory: np.ndarray) -> np.ndarray:
    """(T,) rad along a trajectory (T, 2) that starts at the origin; where it stands still the last heading holds."""
    steps = np.diff(np.vstack([np.zeros((1, 2)), trajectory]), axis=0)
    headings, last = np.zeros(len(steps)), 0.0
    for i, (dx, dy) in enumerate(steps):
        last = float(np.arctan2(dy, dx)) if np.hypot(dx, dy) > 0.05 else last
        headings[i] = last
    return headings


def _poses(trajectory: np.ndarray) -> list[Pose]:
    return [
        Pose(position=point, orientation=yaw_quaternion(heading))
        for point, heading in zip(points_of(trajectory), headings_of(trajectory), strict=True)
    ]


def _velocities(trajectory: np.ndarray) -> list[Vector3]:
    steps = np.diff(np.vstack([np.zeros((1, 2)), trajectory]), axis=0) / PLAN_STEP_SECONDS
    return [Vector3(x=vx, y=vy) for vx, vy in steps.tolist()]


def trajectory_message(output: PlannerOutput, trajectory: np.ndarray, header: Header) -> PlannedTrajectory:
    """The plan: `trajectory` (6, 2) is what to drive (the network's, or shortened), candidates are the network's."""
    message = _trajectory(trajectory, output.command, header)
    message.candidates = [
        CandidateTrajectory(command=int(command), positions=points_of(output.trajectories[command]))
        for command in Command
    ]
    message.valid_share = float(output.valid_share)
    message.is_stop, message.stop_reason = output.emergency, output.stop_reason
    return message


def stop_message(trajectory: np.ndarray, command: Command, reason: str, header: Header) -> PlannedTrajectory:
    """A stop trajectory (6, 2) with the sentence that says why."""
    message = _trajectory(trajectory, command, header)
    message.is_stop, message.stop_reason = True, reason
    return message


def _trajectory(trajectory: np.ndarray, command: Command, header: Header) -> PlannedTrajectory:
    message = PlannedTrajectory(header=header, command=int(command), step=PLAN_STEP_SECONDS)
    message.poses, message.velocities = _poses(trajectory), _velocities(trajectory)
    return message


def trajectory_points(message: PlannedTrajectory) -> np.ndarray:
    """(6, 2) m of a received plan; raises InvalidInput on another step or length, or values no plan of 3 s has."""
    points = np.array([[p.position.x, p.position.y] for p in message.poses], dtype=float).reshape(-1, 2)
    if len(points) != 6 or abs(message.step - PLAN_STEP_SECONDS) > 1e-3:
        raise InvalidInput(
            f"trajectory: {len(points)} poses {message.step:g} s apart, expected 6 at {PLAN_STEP_SECONDS:g} s"
        )
    if not np.isfinite(points).all() or np.abs(points).max() > MAX_REACH:
        raise InvalidInput(f"trajectory: holds values that are not finite or beyond {MAX_REACH:g} m")
    return points


def path_message(trajectory: np.ndarray, header: Header) -> Path:
    """nav_msgs/Path of the trajectory with the vehicle's own place in front."""
    poses = [Pose(orientation=Quaternion(w=1.0)), *_poses(trajectory)]
    return Path(header=header, poses=[PoseStamped(header=header, pose=pose) for pose in poses])


def occupancy_message(grid: RiskGridContract, header: Header) -> OccupancyGrid:
    """Risk in per cent, 0 .. 100, -1 where it is unknown."""
    message = OccupancyGrid(header=header)
    info = message.info
    info.map_load_time, info.resolution = header.stamp, float(grid.resolution)
    info.height, info.width = grid.values.shape
    info.origin = _grid_origin(grid)
    known = np.isfinite(grid.values)
    percent = np.where(known, np.rint(100.0 * np.clip(np.where(known, grid.values, 0.0), 0.0, 1.0)), -1)
    message.data = array.array("b", percent.astype(np.int8).tobytes())
    return message


def risk_message(grid: RiskGridContract, header: Header) -> RiskGrid:
    """The same grid as floats."""
    rows, columns = grid.values.shape
    message = RiskGrid(header=header, resolution=float(grid.resolution), width=columns, height=rows)
    message.origin = _grid_origin(grid)
    message.data = array.array("f", np.ascontiguousarray(grid.values, np.float32).tobytes())
    return message


def _grid_origin(grid: RiskGridContract) -> Pose:
    return Pose(position=Point(x=float(grid.origin[0]), y=float(grid.origin[1])), orientation=Quaternion(w=1.0))


def confident(objects: DetectedObjects, min_score: float, limit: int = 100) -> np.ndarray:
    """Indices of the objects worth sending: finite, scored `min_score` or better, at most `limit`, in their order."""
    finite = np.isfinite(objects.boxes).all(axis=1) & np.isfinite(objects.velocities).all(axis=1)
    return np.flatnonzero(finite & (objects.scores >= min_score))[:limit]


def objects_message(objects: DetectedObjects, min_score: float, header: Header) -> RiskObjectArray:
    """Objects scored `min_score` or better with risk and futures."""
    message = RiskObjectArray(header=header, step=PLAN_STEP_SECONDS)
    message.objects = [_risk_object(objects, int(k)) for k in confident(objects, min_score)]
    return message


def _risk_object(objects: DetectedObjects, k: int) -> RiskObject:
    x, y, z, length, width, height, yaw = objects.boxes[k].tolist()
    label = int(objects.labels[k])
    vx, vy = objects.velocities[k].tolist()
    return RiskObject(
        id=k,
        label=label,
        class_name=OBJECT_CLASSES[label],
        score=float(objects.scores[k]),
        risk=float(np.clip(objects.risks[k], 0.0, 1.0)),
        pose=Pose(position=Point(x=x, y=y, z=z), orientation=yaw_quaternion(yaw)),
        size=Vector3(x=length, y=width, z=height),
        velocity=Vector3(x=vx, y=vy),
        futures=[
            PredictedPath(probability=float(probability), positions=points_of(mode))
            for mode, probability in zip(objects.futures[k], objects.future_probabilities[k], strict=True)
        ],
    )
