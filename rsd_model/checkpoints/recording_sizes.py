"""What a recording was made with, read from the shapes and the rig in the file: nothing of it is assumed."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from rsd_model.checkpoints.golden import GoldenError, GoldenFile
from rsd_model.config import ModelConfig, load_model_config

BACKBONE_STRIDE = 8  # of the first recorded backbone feature
ENCODER = re.compile(r"mid/enc(\d+)/0")


def image_size_candidates(golden: GoldenFile) -> list[tuple[int, int]]:
    """(height, width) in px that the recorded images may have had, the likeliest first.

    Known where the file holds its images or `image_size`. Otherwise the first feature of backbone or pyramid leaves
    eight candidates a side, and twice the principal point of the first camera is the likeliest, then the same padded;
    where it does not fit at all (a cropped image) all eight stay.
    """
    frame = golden.frames[0]
    if f"f{frame}/images" in golden.values:
        height, width = golden.values[f"f{frame}/images"].shape[-2:]
        return [(int(height), int(width))]
    if "image_size" in golden.values:
        height, width = golden.values["image_size"].ravel()[:2]
        return [(int(height), int(width))]
    rig = golden.values[f"f{frame}/lidar2img"]
    centre = _principal_point(rig.reshape(-1, *rig.shape[-2:])[0])
    guess = (round(2.0 * centre[1]), round(2.0 * centre[0]))
    feature = golden.shape(frame, "mid/backbone/0") or golden.shape(frame, "mid/fpn/0")
    if feature is None:
        if min(guess) < 1:
            raise GoldenError(f"{golden.path}: holds no image_size, no mid/backbone/0, and a rig that does not tell it")
        return [guess]
    heights, widths = (_sides(cells, side) for cells, side in zip(feature[-2:], guess, strict=True))
    ranked = [(i + j, (height, width)) for i, height in enumerate(heights) for j, width in enumerate(widths)]
    return [size for _, size in sorted(ranked)]


def _sides(cells: int, guess: int) -> list[int]:
    """Lengths whose feature has `cells` cells: the guess, padded or not, if it is one of them, else all of them."""
    longest = cells * BACKBONE_STRIDE
    if -(-guess // BACKBONE_STRIDE) == cells:
        return list(dict.fromkeys((guess, longest)))
    return list(range(longest, longest - BACKBONE_STRIDE, -1))


def _principal_point(lidar2img: np.ndarray) -> tuple[float, float]:
    """Principal point of a projection K [R | t]: rows of K R dotted with the viewing axis."""
    axis = lidar2img[2, :3]
    u, v = lidar2img[:2, :3] @ axis / max(float(axis @ axis), 1e-12)
    return float(u), float(v)


def bev_candidates(golden: GoldenFile) -> list[tuple[int, int]]:
    """(rows, columns) that the recorded BEV may have, the likeliest first: given, square, then every other factor."""
    if "bev_size" in golden.values:
        rows, columns = golden.values["bev_size"].ravel()[:2]
        return [(int(rows), int(columns))]
    frame = golden.frames[0]
    shapes = [golden.shape(frame, name) for name in bev_tensors(golden)]
    shape = golden.shape(frame, "head/bev_embed")
    if shape is None and not shapes:
        raise GoldenError(
            f"{golden.path}: holds neither head/bev_embed nor mid/enc0/0, so the BEV's size cannot be read: give --bev"
        )
    cells = shape[0] if shape is not None else (shapes[0] or (1, 1))[-2]
    factors = [(rows, cells // rows) for rows in range(1, cells + 1) if cells % rows == 0]
    return sorted(factors, key=lambda size: abs(np.log(size[0] / size[1])))


def bev_tensors(golden: GoldenFile) -> list[str]:
    """Recorded outputs of encoder layers in the first frame, the first layer first."""
    found = [(int(m.group(1)), m.group(0)) for n in golden.tensors(golden.frames[0]) if (m := ENCODER.fullmatch(n))]
    return [name for _, name in sorted(found)]


def _encoder_layers(golden: GoldenFile, usual: int) -> int:
    """Depth of the encoder: of the last recorded layer if that is the BEV itself, otherwise the usual one at least."""
    frame, recorded = golden.frames[0], bev_tensors(golden)
    if not recorded:
        return usual
    layers = int(recorded[-1].removeprefix("mid/enc").split("/")[0]) + 1
    last, whole = (golden.values.get(f"f{frame}/{name}/stats") for name in (recorded[-1], "head/bev_embed"))
    same = last is not None and whole is not None and np.allclose(last, whole, rtol=1e-5, atol=1e-7)
    return layers if same else max(usual, layers)


def batch_of(golden: GoldenFile) -> int:
    """Samples a frame."""
    frame = golden.frames[0]
    rig, bev = golden.values[f"f{frame}/lidar2img"], golden.shape(frame, "head/bev_embed")
    if rig.ndim == 4:
        return len(rig)
    return bev[1] if bev is not None and len(bev) == 3 else 1


def config_of(golden: GoldenFile, image: tuple[int, int], bev: tuple[int, int]) -> ModelConfig:
    """The base configuration, quirks and all, at the sizes that the file was recorded with."""
    frame = golden.frames[0]
    config = load_model_config("base")
    objects, lanes = golden.shape(frame, "head/all_cls_scores"), golden.shape(frame, "head/map_all_pts_preds")
    map_classes, plan = golden.shape(frame, "head/map_all_cls_scores"), golden.shape(frame, "head/ego_fut_preds")
    config = replace(
        config,
        cameras=golden.values[f"f{frame}/lidar2img"].shape[-3],
        image=replace(config.image, height=image[0], width=image[1]),
        bev=replace(config.bev, rows=bev[0], columns=bev[1], layers=_encoder_layers(golden, config.bev.layers)),
        quirks=replace(config.quirks, mix_batch=True),
    )
    if objects and len(objects) == 4:
        asked = replace(config.objects, layers=objects[0], queries=objects[2], classes=objects[3])
        config = replace(config, objects=asked)
    if lanes and map_classes and len(lanes) == 5:
        sizes = replace(config.map, layers=lanes[0], instances=lanes[2], points=lanes[3], classes=map_classes[-1])
        config = replace(config, map=sizes)
    if plan and len(plan) == 4:
        config = replace(config, ego=replace(config.ego, commands=plan[1], steps=plan[2]))
    return config
