"""Pictures for the teacher: front view or montage, dark ones brightened, objects marked, the ego's way drawn in red."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from rsd_model.contracts import CameraRig
from rsd_model.geometry import project_to_image
from rsd_offline.labeling.grounding import GroundedObject

RED, MARK = (255, 0, 0), (255, 230, 0)
MONTAGE_ORDER = ("FRONT_LEFT", "FRONT", "FRONT_RIGHT", "BACK_LEFT", "BACK", "BACK_RIGHT")
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class PictureConfig:
    """How the images are put before the teacher."""

    tile_width: int = 640  # px of one camera in the montage
    front_width: int = 1024  # px
    jpeg_quality: int = 85
    marks: bool = True  # draw the objects' numbers and boxes
    dark_below: float = 50.0  # mean luminance 0 .. 255 below which a frame is brightened
    bright_target: float = 100.0  # mean luminance aimed at


@dataclass(frozen=True)
class Tile:
    """Where one camera's image lies in a picture: pixel of the picture = offset + scale * pixel of the image."""

    camera: int
    offset: tuple[int, int]
    scale: float


def luminance(images: Sequence[np.ndarray]) -> float:
    """Mean luma (ITU-R BT.601) of RGB images, 0 .. 255, from every eighth pixel."""
    weights = np.array([0.299, 0.587, 0.114])
    return float(np.mean([image[::8, ::8].reshape(-1, 3).mean(0) @ weights for image in images]))


def brighten(image: np.ndarray, measured: float, target: float) -> np.ndarray:
    """Lift an RGB image of mean luminance `measured` towards `target`: gamma, then local contrast (CLAHE)."""
    gamma = np.clip(np.log(target / 255.0) / np.log(np.clip(measured, 2.0, 250.0) / 255.0), 0.3, 1.0)
    table = (255.0 * (np.arange(256) / 255.0) ** gamma).round().astype(np.uint8)
    luma, red, blue = cv2.split(cv2.cvtColor(cv2.LUT(image, table), cv2.COLOR_RGB2YCrCb))
    before = float(luma.mean())
    luma = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(luma)
    luma = cv2.convertScaleAbs(luma, alpha=before / max(float(luma.mean()), 1.0))  # contrast, not more light
    return cv2.cvtColor(cv2.merge((luma, red, blue)), cv2.COLOR_YCrCb2RGB)


def compose(
    images: Sequence[np.ndarray], rig: CameraRig, view: str, config: PictureConfig
) -> tuple[np.ndarray, list[Tile]]:
    """One RGB picture of a view (front | montage) and where each camera lies in it."""
    if view == "front":
        camera = front_camera(rig)
        scale = min(1.0, config.front_width / images[camera].shape[1])
        return _resize(images[camera], scale), [Tile(camera, (0, 0), scale)]
    order = montage_order(rig)
    scales = [min(1.0, config.tile_width / images[c].shape[1]) for c in order]
    small = [_resize(images[c], s) for c, s in zip(order, scales, strict=True)]
    width, height = max(i.shape[1] for i in small), max(i.shape[0] for i in small)
    columns = 3 if len(order) > 3 else len(order)
    canvas = np.zeros((-(-len(order) // columns) * height, columns * width, 3), np.uint8)
    tiles = []
    for place, (camera, image, scale) in enumerate(zip(order, small, scales, strict=True)):
        x, y = place % columns * width, place // columns * height
        canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
        tiles.append(Tile(camera, (x, y), scale))
        caption(canvas, rig.names[camera].removeprefix("CAM_"), (x + 6, y + 6), (255, 255, 255))
    return canvas, tiles


def front_camera(rig: CameraRig) -> int:
    """Index of the camera that looks ahead."""
    return int((rig.cam_to_base[:, 0, 2]).argmax())  # optical z along base x


def montage_order(rig: CameraRig) -> list[int]:
    """Camera indices as the montage shows them: front row over back row, left to right."""
    short = [name.upper().removeprefix("CAM_") for name in rig.names]
    if set(short) == set(MONTAGE_ORDER):
        return [short.index(name) for name in MONTAGE_ORDER]
    return list(range(len(short)))


def boxes_in_picture(objects: Sequence[GroundedObject], tiles: Sequence[Tile]) -> dict[int, tuple[int, int, int, int]]:
    """Number of an object -> its box in the picture, px; objects of cameras that the picture lacks are left out."""
    by_camera = {tile.camera: tile for tile in tiles}
    found = {}
    for item in objects:
        if item.camera in by_camera:
            tile = by_camera[item.camera]
            shift = np.tile(tile.offset, 2)
            found[item.number] = tuple(int(v) for v in np.round(np.array(item.image_box) * tile.scale + shift))
    return found


def draw_marks(picture: np.ndarray, boxes: dict[int, tuple[int, int, int, int]]) -> None:
    """Draw each object's box and number into the picture."""
    for number, (left, top, right, bottom) in sorted(boxes.items(), reverse=True):
        cv2.rectangle(picture, (left, top), (right, bottom), MARK, 1)
        caption(picture, str(number), (left, max(top - 12, 0)), MARK)


def draw_future(picture: np.ndarray, tiles: Sequence[Tile], rig: CameraRig, future: np.ndarray) -> bool:
    """Draw the ego's way over the ground as a red line into the front view; False where none of it is in the image."""
    tile = next((t for t in tiles if t.camera == front_camera(rig)), None)
    if tile is None:
        return False
    way = np.concatenate([np.zeros((1, 2)), future])
    fine = np.stack([np.interp(np.linspace(0, len(way) - 1, 60), np.arange(len(way)), way[:, i]) for i in (0, 1)], 1)
    pixels, depth = project_to_image(rig, tile.camera, np.column_stack([fine, np.zeros(len(fine))]))
    inside = (depth > 0.5) & (np.abs(pixels) < 1e4).all(1)
    if inside.sum() < 2 or np.linalg.norm(way[-1]) < 1.0:
        return False
    points = (pixels[inside] * tile.scale).round().astype(np.int32)
    (x, y), (width, height) = tile.offset, np.round(rig.sizes[tile.camera] * tile.scale).astype(int)
    view = np.ascontiguousarray(picture[y : y + height, x : x + width])  # the line must not leave its image
    cv2.polylines(view, [points], False, RED, max(2, width // 300), cv2.LINE_AA)
    picture[y : y + height, x : x + width] = view
    return True


def caption(
    picture: np.ndarray, text: str, corner: tuple[int, int], color: tuple[int, int, int], scale: float = 0.4
) -> None:
    """Small text on a black ground; `corner` is its upper left."""
    tag, (x, y) = _tag(text, color, scale), corner
    below, right = y + tag.shape[0], x + tag.shape[1]
    if x >= 0 and y >= 0 and below <= picture.shape[0] and right <= picture.shape[1]:
        picture[y:below, x:right] = tag
    else:
        _write(picture, text, corner, color, scale)


@cache
def _tag(text: str, color: tuple[int, int, int], scale: float) -> np.ndarray:
    """A caption as an image of its own: each call of OpenCV hands the interpreter to another thread and back."""
    (width, height), base = cv2.getTextSize(text, FONT, scale, 1)
    tag = np.zeros((height + base + 1, width + 3, 3), np.uint8)
    _write(tag, text, (0, 0), color, scale)
    return tag


def _write(picture: np.ndarray, text: str, corner: tuple[int, int], color: tuple[int, int, int], scale: float) -> None:
    (width, height), base = cv2.getTextSize(text, FONT, scale, 1)
    x, y = corner
    cv2.rectangle(picture, (x, y), (x + width + 2, y + height + base), (0, 0, 0), -1)
    cv2.putText(picture, text, (x + 1, y + height + 1), FONT, scale, color, 1, cv2.LINE_AA)


def encode(picture: np.ndarray, quality: int) -> bytes:
    """RGB picture to JPEG."""
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def _resize(image: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1.0:
        return np.ascontiguousarray(image).copy()
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
