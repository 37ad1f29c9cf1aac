"""What a teacher is asked about one frame: the scene, the words, the pictures, and the name of the question."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rsd_offline.datasets.frames import KeyFrame
from rsd_offline.labeling.grounding import GroundedObject
from rsd_offline.labeling.pictures import (
    PictureConfig,
    boxes_in_picture,
    brighten,
    compose,
    draw_future,
    draw_marks,
    encode,
    luminance,
)
from rsd_offline.labeling.prompts import Prompt


@dataclass(frozen=True)
class Picture:
    """One encoded picture and where the objects lie in it."""

    jpeg: bytes = field(repr=False)
    view: str
    size: tuple[int, int]  # width, height, px
    boxes: dict[int, tuple[int, int, int, int]]  # number of an object -> px
    red_line: bool = False

    # Both are worked out once, where the picture is made: many questions hold the same picture.
    @cached_property
    def hash(self) -> str:
        """Content hash."""
        return hashlib.sha256(self.jpeg).hexdigest()

    @cached_property
    def data_url(self) -> bytes:
        """The picture as it stands in a request."""
        return b"data:image/jpeg;base64," + base64.b64encode(self.jpeg)


@dataclass(frozen=True)
class Scene:
    """A frame made ready for a teacher."""

    frame: KeyFrame
    objects: tuple[GroundedObject, ...]
    pictures: dict[str, Picture]  # by task; empty for teachers that do not look
    luminance: float | None = None
    brightened: bool = False


@dataclass(frozen=True)
class Question:
    """One request to a teacher."""

    prompt: Prompt = field(repr=False)
    text: str
    pictures: tuple[Picture, ...]
    sample: int  # which of the N samples; also the seed
    attempt: int  # 0, then 1 .. after answers that could not be used
    scene: Scene = field(repr=False)  # for teachers that do not read
    numbers: tuple[int, ...] = ()  # objects asked about

    @property
    def task(self) -> str:
        """One of `prompts.TASKS`."""
        return self.prompt.task

    def key(self, teacher: str) -> bytes:
        """Name of the question by its content and the teacher's fingerprint: equal questions are asked once."""
        prompt = self.prompt
        parts = [teacher, prompt.task, prompt.system, self.text, prompt.schema_text]
        parts += [picture.hash for picture in self.pictures]
        parts += [str(prompt.max_tokens), str(self.sample), str(self.attempt)]
        if not self.pictures:
            parts.append(self.scene.frame.frame_id)
        return hashlib.sha256("\0".join(parts).encode()).digest()


def make_pictures(
    frame: KeyFrame,
    objects: Sequence[GroundedObject],
    prompts: dict[str, Prompt],
    config: PictureConfig,
    red_line: bool,
) -> tuple[dict[str, Picture], float, bool]:
    """The picture of each task, the frame's measured luminance, and whether it was brightened."""
    images = frame.load_images()
    measured = luminance(images)
    dark = measured < config.dark_below
    if dark:
        images = tuple(brighten(image, measured, config.bright_target) for image in images)
    pictures = {}
    for task, prompt in prompts.items():
        picture, tiles = compose(images, frame.rig, prompt.view, config)
        boxes = boxes_in_picture(objects, tiles) if task == "risk" else {}
        if config.marks:
            draw_marks(picture, boxes)
        line = task == "action" and red_line and frame.future is not None
        if line:
            draw_future(picture, tiles, frame.rig, frame.future)
        height, width = picture.shape[:2]
        made = Picture(encode(picture, config.jpeg_quality), prompt.view, (width, height), boxes, line)
        _ = made.hash, made.data_url
        pictures[task] = made
    return pictures, measured, dark


def risk_question(
    scene: Scene, prompt: Prompt, sample: int, attempt: int = 0, only: Sequence[int] | None = None
) -> Question:
    """Ask for the risk of every object, or of those left out in an earlier answer (`only`)."""
    picture = scene.pictures.get("risk")
    asked = [o for o in scene.objects if (picture is None or o.number in picture.boxes)]
    if only is not None:
        asked = [o for o in asked if o.number in set(only)]
    again = "" if only is None else prompt.sections.get("again", "") + "\n"
    text = prompt.fill(
        "user",
        images_line=_images_line(picture),
        ego_lines=_ego_lines(scene.frame),
        object_lines=again + "\n".join(_object_line(o, scene.frame, picture) for o in asked),
        count=len(asked),
    )
    numbers = tuple(o.number for o in asked)
    return Question(prompt, text, () if picture is None else (picture,), sample, attempt, scene, numbers)


def action_question(scene: Scene, prompt: Prompt, sample: int = 0, attempt: int = 0) -> Question:
    """Ask what the ego does, should do and why (VLM-AD's Q1), and for one action of each set (Q2)."""
    picture = scene.pictures.get("action")
    drawn = picture is not None and picture.red_line
    images = _images_line(picture) + ("\n" + prompt.fill("red line") if drawn else "")
    line_rule = prompt.fill("line rule") if drawn else ""
    text = prompt.fill("user", images_line=images, ego_lines=_ego_lines(scene.frame), line_rule=line_rule)
    return Question(prompt, text, () if picture is None else (picture,), sample, attempt, scene)


def _images_line(picture: Picture | None) -> str:
    if picture is None:
        return "No image is given."
    width, height = picture.size
    if picture.view == "front":
        what = "The image shows the view ahead of the ego vehicle"
    else:
        what = (
            "The image joins the ego vehicle's cameras: above front left, front, front right; "
            "below back left, back, back right, as one sees them when looking backwards through each camera"
        )
    return f"{what} ({width} x {height} pixels)."


def _ego_lines(frame: KeyFrame) -> str:
    lines = []
    if frame.ego_speed is not None:
        lines.append(f"The ego vehicle drives at {frame.ego_speed:.1f} m/s.")
    if frame.lane_offset is not None:
        side = "left" if frame.lane_offset > 0 else "right"
        lines.append(f"It is {abs(frame.lane_offset):.1f} m {side} of the middle of its lane.")
    if frame.command is not None:
        lines.append(f"Its route says: {_COMMANDS[frame.command.name]}.")
    return " ".join(lines) or "The ego vehicle's speed is not known."


_COMMANDS = {
    "LEFT": "turn left at the junction", "RIGHT": "turn right at the junction",
    "STRAIGHT": "go straight at the junction",
    "LANEFOLLOW": "follow the lane", "CHANGELANELEFT": "change to the left lane",
    "CHANGELANERIGHT": "change to the right lane",
}  # fmt: skip


def _object_line(item: GroundedObject, frame: KeyFrame, picture: Picture | None) -> str:
    x, y = item.position
    words = [f"{item.number}: {item.class_name.replace('_', ' ')}"]
    if math.isfinite(x):
        words.append(f"forward {x:+.1f} m, left {y:+.1f} m, range {item.distance:.1f} m")
    if item.velocity is not None:
        speed = math.hypot(*item.velocity)
        words.append("standing" if speed < 0.3 else f"{speed:.1f} m/s {_direction(item)}")
    if picture is not None:
        camera = frame.rig.names[item.camera].removeprefix("CAM_").lower().replace("_", " ")
        box = ", ".join(str(v) for v in picture.boxes[item.number])
        words.append(f"{camera} camera, box [{box}]")
    return "; ".join(words)


def _direction(item: GroundedObject) -> str:
    assert item.velocity is not None
    angle = math.degrees(math.atan2(item.velocity[1], item.velocity[0]))
    if abs(angle) < 30.0:
        return "the ego's way"
    if abs(angle) > 150.0:
        return "against the ego's way"
    return "towards the left" if angle > 0 else "towards the right"
