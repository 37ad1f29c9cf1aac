"""A labelled frame as one picture: cameras with boxes, risk from above, and the causes in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

import cv2
import numpy as np

from rsd_offline.datasets.frames import KeyFrame
from rsd_offline.labeling.lift import decode_map
from rsd_offline.labeling.pictures import PictureConfig, caption, compose, draw_future
from rsd_world.actors.boxes import box_corners_2d

GROUND, PAPER, INK, FAINT = (30, 32, 36), (22, 23, 26), (235, 235, 235), (150, 150, 150)
INVALID = (170, 170, 170)
PIXELS_PER_METRE = 8.0
FONT = cv2.FONT_HERSHEY_SIMPLEX
EGO_SIZE = (4.892, 1.837)  # m


def risk_color(risk: float | None) -> tuple[int, int, int]:
    """RGB from green (0) over yellow to red (1); grey where no risk is known."""
    if risk is None:
        return INVALID
    stops = np.array([[60, 190, 90], [245, 205, 50], [235, 45, 35]], float)
    place = float(np.clip(risk, 0.0, 1.0)) * 2.0
    low = min(int(place), 1)
    return tuple(int(v) for v in stops[low] + (place - low) * (stops[low + 1] - stops[low]))


def draw_labels(
    frame: KeyFrame,
    objects: Sequence[dict],
    label: dict,
    audit: dict | None,
    risk_map: dict | None,
    tile_width: int = 480,
) -> np.ndarray:
    """RGB picture of one frame; `objects`, `label`, `audit` and `risk_map` are rows of the label store."""
    picture, tiles = compose(frame.load_images(), frame.rig, "montage", PictureConfig(tile_width=tile_width))
    if frame.future is not None:
        draw_future(picture, tiles, frame.rig, frame.future)
    by_name = {frame.rig.names[tile.camera]: tile for tile in tiles}
    marks = _marks(objects)
    for item in sorted(objects, key=lambda o: o["risk"] or 0.0):
        tile = by_name.get(item["camera"])
        if tile is None or item["image_box"] is None:
            continue
        box = np.array(item["image_box"]) * tile.scale + np.tile(tile.offset, 2)
        left, top, right, bottom = (round(v) for v in box)
        color = risk_color(item["risk"])
        cv2.rectangle(picture, (left, top), (right, bottom), color, 2 if item["valid"] else 1)
        caption(picture, marks[item["object_id"]], (left, max(top - 14, 0)), color, 0.42)
    height = 420
    below = np.full((height, picture.shape[1], 3), PAPER, np.uint8)
    above = _from_above(objects, risk_map, frame.future, height)
    below[:, : above.shape[1]] = above
    _words(below[:, above.shape[1] + 16 :], frame, objects, label, audit)
    return np.concatenate([picture, below])


def _marks(objects: Sequence[dict]) -> dict[int, str]:
    """Object id -> its words in the images: rank and risk, or a letter where no label is valid."""
    letters = iter([*ascii_uppercase, *ascii_lowercase] + ["?"] * len(objects))
    return {
        item["object_id"]: f"{item['rank']}: {item['risk']:.2f}" if item["valid"] else f"{next(letters)} ?"
        for item in objects
    }


def _from_above(objects: Sequence[dict], risk_map: dict | None, future: np.ndarray | None, height: int) -> np.ndarray:
    """Risk map and footprints; x is up, y is left."""
    ahead, aside = 0.7 * height / PIXELS_PER_METRE, 20.0
    width = round(2 * aside * PIXELS_PER_METRE)
    canvas = np.full((height, width, 3), GROUND, np.uint8)

    def pixel(points: np.ndarray) -> np.ndarray:
        column, row = (aside - points[..., 1]) * PIXELS_PER_METRE, (ahead - points[..., 0]) * PIXELS_PER_METRE
        return np.stack([column, row], -1).round().astype(np.int32)

    if risk_map is not None:
        _paint_map(canvas, risk_map, ahead, aside)
    for metres in range(10, int(ahead), 10):
        cv2.circle(canvas, tuple(int(v) for v in pixel(np.zeros(2))), round(metres * PIXELS_PER_METRE), (70, 72, 78), 1)
    for item in objects:
        if item["box"] is not None:
            box = np.array(item["box"], float)
            corners = box_corners_2d(box[None, :2], box[None, 6], box[None, 3:5])[0]
            cv2.polylines(canvas, [pixel(corners)], True, risk_color(item["risk"]), 2, cv2.LINE_AA)
            if item["valid"]:
                x, y = (int(v) for v in pixel(box[:2]))
                cv2.putText(canvas, str(item["rank"]), (x + 6, y + 4), FONT, 0.38, INK, 1, cv2.LINE_AA)
    ego = box_corners_2d(np.zeros((1, 2)), np.zeros(1), np.array([EGO_SIZE]))[0]
    cv2.fillConvexPoly(canvas, pixel(ego), (90, 160, 235), cv2.LINE_AA)
    if future is not None:
        cv2.polylines(canvas, [pixel(np.vstack([np.zeros(2), future]))], False, (255, 60, 60), 2, cv2.LINE_AA)
    return canvas


def _paint_map(canvas: np.ndarray, row: dict, ahead: float, aside: float) -> None:
    values, mask = decode_map(row)
    height, width = canvas.shape[:2]
    x = ahead - (np.arange(height) + 0.5) / PIXELS_PER_METRE
    y = aside - (np.arange(width) + 0.5) / PIXELS_PER_METRE
    columns = np.floor((x - row["origin_x"]) / row["resolution"]).astype(int)
    rows = np.floor((y - row["origin_y"]) / row["resolution"]).astype(int)
    inside = ((columns >= 0) & (columns < values.shape[1]))[:, None] & ((rows >= 0) & (rows < values.shape[0]))[None]
    at = np.ix_(np.clip(rows, 0, values.shape[0] - 1), np.clip(columns, 0, values.shape[1] - 1))
    risk, judged = values[at].T, mask[at].T & inside
    table = np.array([risk_color(v) for v in np.linspace(0.0, 1.0, 32)], float)
    colors = table[np.clip(np.round(risk * 31.0), 0, 31).astype(int)]
    share = np.where(judged, 0.25 + 0.5 * risk, 0.0)[..., None]
    canvas[:] = (canvas * (1.0 - share) + colors * share).astype(np.uint8)


def _words(paper: np.ndarray, frame: KeyFrame, objects: Sequence[dict], label: dict, audit: dict | None) -> None:
    lines: list[tuple[str, tuple[int, int, int]]] = [(frame.frame_id, INK)]
    facts = [f"{frame.ego_speed:.1f} m/s" if frame.ego_speed is not None else "", frame.weather, frame.time_of_day]
    if audit is not None:
        facts += [audit["status"], f"{audit['samples']} sample{'s' if audit['samples'] != 1 else ''}"]
        facts += [f"Diff_Risk {audit['diff_risk']:.2f}"] if audit["diff_risk"] is not None else []
    if label["kendall_tau"] is not None:
        facts.append(f"tau {label['kendall_tau']:.2f}")
    lines.append((", ".join(dict.fromkeys(f for f in facts if f)), FAINT))  # night is both weather and time of day
    lines += _judged_lines(objects) + _unjudged_lines(objects, audit)
    lines += (
        [(f"now: {label['current_action']}", INK), (f"next: {label['future_action']}", INK)] if label["control"] else []
    )
    lines += [(f"why: {label['reason']}", INK)] if label["control"] else []
    lines += [(f"{label['control']} / {label['turn']} / {label['lane']}", FAINT)] if label["control"] else []
    for number, (words, color) in enumerate(lines[:20]):
        fits = max(20, paper.shape[1] // 8)
        words = words if len(words) <= fits else words[: fits - 2] + ".."
        cv2.putText(
            paper, words.encode("ascii", "replace").decode(), (0, 24 + 20 * number), FONT, 0.45, color, 1, cv2.LINE_AA
        )


def _judged_lines(objects: Sequence[dict]) -> list[tuple[str, tuple[int, int, int]]]:
    lines, ranked = [], sorted((o for o in objects if o["valid"]), key=lambda o: o["rank"])
    for item in ranked[:12]:
        spread = f" +-{item['spread']:.2f}" if item["spread"] and item["spread"] >= 0.005 else ""
        words = f"{item['rank']}: {item['class_name'].replace('_', ' ')} {item['risk']:.2f}{spread}  {item['cause']}"
        lines.append((words, risk_color(item["risk"])))
    return lines + ([(f"and {len(ranked) - 12} more", FAINT)] if len(ranked) > 12 else [])


def _unjudged_lines(objects: Sequence[dict], audit: dict | None) -> list[tuple[str, tuple[int, int, int]]]:
    """Objects without a valid label and what the samples said of them, the most disputed first."""
    marks = _marks(objects)
    samples = json.loads(audit["sample_risks"]) if audit is not None else []
    rows = []
    for item in (o for o in objects if not o["valid"]):
        said = [sample[str(item["object_id"])] for sample in samples if str(item["object_id"]) in sample]
        words = "samples say " + ", ".join(f"{risk:.2f}" for risk in said) if said else "no sample judged it"
        apart = max(said) - min(said) if said else -1.0
        rows.append((apart, f"{marks[item['object_id']][0]}: {item['class_name'].replace('_', ' ')}, {words}"))
    if not rows:
        return []
    return [(f"{len(rows)} objects without a valid label", FAINT)] + [(w, INVALID) for _, w in sorted(rows)[::-1][:12]]
