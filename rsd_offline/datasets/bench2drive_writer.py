"""Drives of the embedded world as Bench2Drive clips: the same folders, keys and left-handed frames.

What the embedded world has not is not written: LiDAR, radar, semantic images. `num_points` counts the
visible pixels of all cameras, which, like LiDAR returns, are 0 for what is hidden.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np

from rsd_model.contracts import CameraRig, VehicleControl
from rsd_model.geometry import LIDAR_TO_BASE, OPTICAL_TO_BODY
from rsd_offline.datasets.bench2drive_annotations import FLIP_Y, FRAMES_PER_SECOND, OPTICAL_TO_CARLA
from rsd_world.expert.expert import Expert
from rsd_world.expert.observations import observe
from rsd_world.render.renderer import RenderedFrame, Renderer
from rsd_world.roads.town import Town
from rsd_world.state import ActorState, LightState
from rsd_world.world import World

JPEG_QUALITY = 20  # Bench2Drive's
WEATHER_IDS = {"clear": 0, "overcast": 5, "rain": 14, "fog": 12, "dusk": 1, "night": 19}
TYPE_IDS = {
    "car": ("vehicle.lincoln.mkz_2020", "car"), "van": ("vehicle.mercedes.sprinter", "van"),
    "truck": ("vehicle.carlamotors.firetruck", "truck"), "ambulance": ("vehicle.ford.ambulance", "van"),
    "bicycle": ("vehicle.gazelle.omafiets", "bicycle"), "pedestrian": ("walker.pedestrian.0001", ""),
    "traffic_cone": ("static.prop.constructioncone", ""), "barrier": ("static.prop.streetbarrier", ""),
}  # fmt: skip
# Bench2Drive's expert chooses among these (throttle, steer, brake, reverse); their places are the action ids on disk.
ACTIONS = np.array(
    [(0.0, 0.0, 1.0, 0.0)]
    + [(0.7, steer, 0.0, 0.0) for steer in (-0.5, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5)]
    + [(0.3, steer, 0.0, 0.0) for steer in (-0.7, -0.5, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5, 0.7)]
    + [(0.0, steer, 0.0, 0.0) for steer in (-1.0, -0.6, -0.3, -0.1)]
    + [(1.0, 0.0, 0.0, 0.0)]
    + [(0.0, steer, 0.0, 0.0) for steer in (0.1, 0.3, 0.6, 1.0)]
    + [(0.5, steer, 0.0, 1.0) for steer in (-0.5, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5)]
)
# CARLA mounts the LiDAR unturned: its axes are those of the ego, x forward, y right.
_LIDAR_TO_EGO = np.eye(4)
_LIDAR_TO_EGO[:3, 3] = LIDAR_TO_BASE[:3, 3] * (1.0, -1.0, 1.0)


def clip_name(world: World) -> str:
    """`<Scenario>_Town<name>_Route<route>_Weather<id>`."""
    episode, weather = world.episode, WEATHER_IDS[world.episode.weather]
    return f"{episode.scenario or 'PlainDriving'}_{town_name(world.town)}_Route{episode.route:05d}_Weather{weather}"


def town_name(town: Town) -> str:
    """`Town<name>`, as in the names of clips and map files."""
    return f"Town{re.sub(r'[^A-Za-z0-9]', '', town.name).capitalize()}"


def record_clip(root: Path, world: World, renderer: Renderer, seconds: float) -> Path:
    """Let the expert drive for at most `seconds` and write the clip under `root`, whole or not at all.

    The world must step at 10 Hz and the renderer draw `instance`; raises ValueError otherwise.
    Returns the clip's folder.
    """
    if round(1.0 / world.episode.dt) != FRAMES_PER_SECOND:
        raise ValueError(f"a clip has {FRAMES_PER_SECOND} frames/s, but the world steps every {world.episode.dt} s")
    if "instance" not in renderer.outputs:
        raise ValueError("the renderer must draw `instance`: visible pixels are part of the annotation")
    clip = root / clip_name(world)
    partial = clip.with_name(f".{clip.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    expert = Expert(world)
    for frame in range(max(1, int(seconds * FRAMES_PER_SECOND))):
        control = expert.plan().control
        write_frame(partial, frame, world, renderer.render(world.snapshot), renderer.rig, control)
        if world.done:
            break
        world.step(control)
    shutil.rmtree(clip, ignore_errors=True)
    os.replace(partial, clip)
    return clip


def write_frame(
    clip: Path, frame: int, world: World, rendered: RenderedFrame, rig: CameraRig, control: VehicleControl
) -> None:
    """Write one frame's images (depth, too, where it was rendered), annotation and action of the expert."""
    for i, name in enumerate(rig.names):
        short, quality = name.removeprefix("CAM_").lower(), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        image = cv2.cvtColor(rendered.rgb[i], cv2.COLOR_RGB2BGR)
        _write_image(clip / "camera" / f"rgb_{short}" / f"{frame:05d}.jpg", image, quality)
        if rendered.depth is not None:  # whole metres in 8 bits, 255 = that far or farther
            metres = np.minimum(rendered.depth[i], 255.0).round().astype(np.uint8)
            _write_image(clip / "camera" / f"depth_{short}" / f"{frame:05d}.png", metres, [])
    path = clip / "anno" / f"{frame:05d}.json.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", compresslevel=3) as file:
        json.dump(annotation(world, rendered.instance, rig, control), file)
    # Its features and value come first in Bench2Drive's files, the action last; the index is one behind.
    path = clip / "expert_assessment" / f"{frame - 1:05d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, np.array([action_id(control)], np.float32))


def action_id(control: VehicleControl) -> int:
    """The place in ACTIONS of the action nearest to a control."""
    wanted = np.array([control.throttle, control.steer, control.brake, float(control.reverse)])
    return int(np.abs(ACTIONS - wanted).sum(1).argmin())


def _write_image(path: Path, image: np.ndarray, parameters: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image, parameters):
        raise OSError(f"{path} cannot be written: is the disk full?")


def annotation(world: World, instance: np.ndarray | None, rig: CameraRig, control: VehicleControl) -> dict:
    """One instant with the keys of Bench2Drive's anno files, in CARLA's axes."""
    ego, state = world.snapshot.ego, world.ego_state()
    world_to_ego = FLIP_Y @ np.linalg.inv(state.pose) @ FLIP_Y
    location, heading = _location(ego.position), float(-np.degrees(ego.yaw))
    near, far = (_route_point(world, metres) for metres in (4, 20))
    option = int(world.command()) + 1
    box = {
        "class": "ego_vehicle", "id": "0", "type_id": "vehicle.lincoln.mkz_2020", "base_type": "car",
        "location": location, "rotation": [0.0, 0.0, heading], "extent": [s / 2.0 for s in ego.size],
        "center": [location[0], location[1], location[2] + ego.size[2] / 2.0], "speed": ego.speed,
        "brake": control.brake, "world2ego": world_to_ego.tolist(), "semantic_tags": [14],
    }  # fmt: skip
    return {
        "x": location[0], "y": location[1], "theta": float(np.pi / 2.0 - ego.yaw), "speed": ego.speed,
        "throttle": control.throttle, "steer": control.steer, "brake": control.brake, "reverse": control.reverse,
        "x_command_near": near[0], "y_command_near": near[1], "command_near": option,
        "x_command_far": far[0], "y_command_far": far[1], "command_far": option,
        "x_target": far[0], "y_target": far[1], "next_command": option, "should_brake": int(control.brake > 0.0),
        "only_ap_brake": False, "weather": world.episode.weather,
        "acceleration": [ego.acceleration, -ego.lateral_acceleration, 9.81],
        "angular_velocity": [0.0, 0.0, -ego.yaw_rate],
        "sensors": _sensors(rig, world_to_ego),
        "bounding_boxes": [box, *_actor_boxes(world, instance, world_to_ego), *_light_boxes(world)],
    }  # fmt: skip


def _sensors(rig: CameraRig, world_to_ego: np.ndarray) -> dict:
    sensors = {}
    for i, name in enumerate(rig.names):
        to_ego = FLIP_Y @ rig.cam_to_base[i] @ np.linalg.inv(OPTICAL_TO_CARLA)
        body = rig.cam_to_base[i][:3, :3] @ OPTICAL_TO_BODY.T
        width, height = (int(v) for v in rig.sizes[i])
        sensors[name] = {
            "location": to_ego[:3, 3].tolist(),
            "rotation": [0.0, 0.0, float(-np.degrees(np.arctan2(body[1, 0], body[0, 0])))],
            "intrinsic": rig.intrinsics[i].tolist(), "cam2ego": to_ego.tolist(),
            "world2cam": (np.linalg.inv(to_ego) @ world_to_ego).tolist(),
            "fov": float(np.degrees(2.0 * np.arctan(width / (2.0 * rig.intrinsics[i, 0, 0])))),
            "image_size_x": width, "image_size_y": height,
        }  # fmt: skip
    world_to_lidar = np.linalg.inv(_LIDAR_TO_EGO) @ world_to_ego
    sensors["LIDAR_TOP"] = {
        "location": _LIDAR_TO_EGO[:3, 3].tolist(), "rotation": [0.0, 0.0, 0.0], "lidar2ego": _LIDAR_TO_EGO.tolist(),
        "world2lidar": world_to_lidar.tolist(),
    }  # fmt: skip
    return sensors


def _actor_boxes(world: World, instance: np.ndarray | None, world_to_ego: np.ndarray) -> list[dict]:
    seen = observe(world, instance)
    pixels = dict(zip(seen.ids.tolist(), seen.pixels.tolist(), strict=True))
    return [_actor_box(a, pixels[a.id], world_to_ego) for a in world.snapshot.actors if a.id in pixels]


def _actor_box(actor: ActorState, pixels: int, world_to_ego: np.ndarray) -> dict:
    type_id, base_type = TYPE_IDS[actor.kind.value]
    kind = type_id.partition(".")[0]
    foot = _location(actor.position)
    center = [foot[0], foot[1], foot[2] + actor.size[2] / 2.0]
    yaw = float(-np.degrees(actor.yaw))
    pose = np.eye(4)
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    pose[:2, :2], pose[:3, 3] = [[c, -s], [s, c]], foot
    signs = [(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    half = np.array(actor.size) / 2.0
    corners = np.array(signs) * half @ pose[:3, :3].T + center
    distance = float(np.linalg.norm((world_to_ego @ np.array([*center, 1.0]))[:2]))
    box = {
        "class": kind if kind in ("vehicle", "walker") else "static", "id": str(actor.id), "type_id": type_id,
        "location": foot if kind != "walker" else center, "rotation": [0.0, 0.0, yaw], "center": center,
        "extent": half.tolist(), "world_cord": corners.tolist(), "semantic_tags": [], "num_points": pixels,
        "distance": distance, "speed": float(np.linalg.norm(actor.velocity)),
        {"walker": "world2ped"}.get(kind, "world2vehicle"): np.linalg.inv(pose).tolist(),
    }  # fmt: skip
    if kind == "vehicle":
        color = ",".join(str(round(255 * v)) for v in actor.color)
        light = "Brake" if actor.braking else {1: "LeftBlinker", -1: "RightBlinker"}.get(actor.blinker, "NONE")
        box |= {"base_type": base_type, "brake": float(actor.braking), "light_state": light, "color": color}
    return box


def _light_boxes(world: World) -> list[dict]:
    ego = world.snapshot.ego.position[:2]
    boxes = []
    for light in world.town.lights:
        distance = float(np.linalg.norm(light.position[:2] - ego))
        if distance > 75.0:
            continue
        foot = _location(light.position)
        boxes.append(
            {
                "class": "traffic_light", "id": str(100000 + light.id), "type_id": "traffic.traffic_light",
                "location": foot, "rotation": [0.0, 0.0, float(-np.degrees(light.yaw))],
                "center": [foot[0], foot[1], foot[2] + 4.0], "extent": [0.3, 0.3, 0.6], "distance": distance,
                "state": int(world.snapshot.lights.get(light.id, LightState.OFF)), "affects_ego": False,
                "num_points": -1,
            }
        )  # fmt: skip
    return boxes


def _location(position: np.ndarray) -> list[float]:
    return [float(position[0]), float(-position[1]), float(position[2])]


def _route_point(world: World, metres: int) -> tuple[float, float]:
    ahead = world.route_ahead()
    x, y = ahead[min(metres, len(ahead) - 1)] if len(ahead) else (0.0, 0.0)
    point = world.ego_state().pose @ np.array([x, y, 0.0, 1.0])
    return float(point[0]), float(-point[1])
