"""Grounding without annotations: an open-vocabulary detector of `transformers` finds the objects in the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from rsd_offline.datasets.frames import KeyFrame
from rsd_offline.labeling.grounding import GroundedObject, GroundingConfig
from rsd_offline.labeling.lift import lift_image_boxes
from rsd_offline.labeling.pretrained import loading

# What the detector is told to look for -> class name of ours.
VOCABULARY = {
    "a car": "car", "a van": "van", "a truck": "truck", "a bus": "bus", "a bicycle": "bicycle",
    "a motorcycle": "motorcycle", "a pedestrian": "pedestrian", "a traffic cone": "traffic_cone",
    "a barrier": "barrier",
    "an animal on the road": "others", "an object lying on the road": "others",
}  # fmt: skip
DEFAULT_DETECTOR = "IDEA-Research/grounding-dino-tiny"


@dataclass(frozen=True)
class Detection:
    """One box found in one image."""

    class_name: str
    score: float
    box: tuple[float, float, float, float]  # left, top, right, bottom, px


class Detector(Protocol):
    """Finds objects in single images."""

    name: str

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Objects in an RGB image (H, W, 3) uint8."""
        ...


class ZeroShotDetector:
    """Grounding DINO, OWLv2 and other zero-shot detectors of `transformers` (extra `vlm`).

    `model`: a local folder or a name on the hub. Raises ImportError without transformers, UnloadableModelError where
    the weights cannot be had.
    """

    def __init__(self, model: str | Path = DEFAULT_DETECTOR, threshold: float = 0.3, device: str = "cpu") -> None:
        try:
            from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
        except ImportError as error:
            raise ImportError("a detector needs the package transformers: pip install '.[vlm]'") from error
        self.name, self._threshold, self._device = str(model), threshold, device
        with loading("detector", str(model)):
            self._processor = AutoProcessor.from_pretrained(str(model))
            self._model = AutoModelForZeroShotObjectDetection.from_pretrained(str(model)).eval().to(device)

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Objects above the threshold, in pixels of the image."""
        import torch

        words = list(VOCABULARY)
        inputs = self._processor(images=image, text=[words], return_tensors="pt").to(self._device)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        found = self._processor.post_process_grounded_object_detection(
            outputs, threshold=self._threshold, target_sizes=[image.shape[:2]], text_labels=[words]
        )[0]
        labels = found.get("text_labels") or found["labels"]
        return [
            Detection(VOCABULARY.get(str(label), "others"), float(score), tuple(float(v) for v in box))
            for label, score, box in zip(labels, found["scores"], found["boxes"], strict=True)
        ]


def ground_detections(frame: KeyFrame, detector: Detector, config: GroundingConfig) -> list[GroundedObject]:
    """Objects that the detector finds, nearest first; their places come from where they meet the ground."""
    found: list[tuple[int, Detection]] = []
    for camera, image in enumerate(frame.load_images()):
        if config.cameras and frame.rig.names[camera] not in config.cameras:
            continue
        area = float(image.shape[0] * image.shape[1])
        detections = [d for d in _inside(detector.detect(image), image.shape) if _area(d.box) / area >= config.min_area]
        found += [(camera, d) for d in suppress_doubles(detections) if d.class_name not in config.ignored_classes]
    if not found:
        return []
    places = lift_image_boxes(
        np.array([d.box for _, d in found]), np.array([c for c, _ in found]), [d.class_name for _, d in found],
        frame.rig, config.max_range,
    )  # fmt: skip
    ranges = np.where(np.isfinite(places[:, 0]), np.hypot(places[:, 0], places[:, 1]), np.inf)
    grounded = []
    for number, row in enumerate(np.argsort(ranges, kind="stable")[: config.max_objects], start=1):
        camera, detection = found[row]
        box = tuple(float(v) for v in places[row]) if np.isfinite(places[row]).all() else None
        position = (box[0], box[1]) if box is not None else (np.nan, np.nan)
        grounded.append(
            GroundedObject(
                number,
                number,
                detection.class_name,
                camera,
                detection.box,
                position,
                1.0,
                box=box,
                score=detection.score,
            )
        )
    return grounded


def suppress_doubles(detections: Sequence[Detection], overlap: float = 0.6) -> list[Detection]:
    """Best boxes first; those that overlap a better one by more than `overlap` (IoU) are dropped."""
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda d: -d.score):
        if all(_overlap(candidate.box, other.box) <= overlap for other in kept):
            kept.append(candidate)
    return kept


def _inside(detections: Sequence[Detection], shape: tuple[int, ...]) -> list[Detection]:
    height, width = shape[:2]
    cut = []
    for d in detections:
        if np.isfinite(d.box).all():
            x0, y0, x1, y1 = np.clip(d.box, 0.0, (width, height, width, height))
            cut.append(Detection(d.class_name, d.score, (float(x0), float(y0), float(x1), float(y1))))
    return cut


def _area(box: Sequence[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    shared = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = _area(a) + _area(b) - shared
    return shared / union if union > 0.0 else 0.0
