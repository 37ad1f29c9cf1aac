"""What is drawn of a moment, and where: projection, bird's-eye view, text."""

from __future__ import annotations

import numpy as np
import pytest
from drive_samples import CAR_AHEAD, RIG, SECOND, objects, risk_grid, tick, trajectory

from rsd_ros.birds_eye import BirdsEye
from rsd_ros.drawn_text import Labels, put_text, shortened, text_width
from rsd_ros.drive_drawing import BACKGROUND, PLAN, STOP_PLAN, CameraProjector, draw_camera, risk_bgr
from rsd_ros.drive_log import Moment

SIZE = (320, 180)
FRONT, BACK = RIG.names.index("CAM_FRONT"), RIG.names.index("CAM_BACK")


def moment(**changes: object) -> Moment:
    """A plan and nothing else, unless told."""
    return Moment(1.0, **({"trajectory": trajectory(SECOND)} | changes))


def grey() -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)


def changed(picture: np.ndarray) -> np.ndarray:
    """(H, W) where a grey picture was drawn on."""
    return (picture != 128).any(axis=2)


def test_a_point_on_the_front_cameras_axis_lies_in_the_middle() -> None:
    projector = CameraProjector(RIG, FRONT, SIZE)
    height = RIG.cam_to_base[FRONT][2, 3]
    piece = projector.polyline(np.array([[10.0, 0.0, height], [20.0, 0.0, height]]))[0]
    np.testing.assert_allclose(piece, [[SIZE[0] / 2, SIZE[1] / 2]] * 2, atol=1e-3)


def test_lines_are_cut_at_the_cameras_plane_and_what_is_behind_is_left_out() -> None:
    projector = CameraProjector(RIG, FRONT, SIZE)
    assert projector.polyline(np.array([[-5.0, 0.0, 1.0], [-9.0, 0.0, 1.0]])) == []
    pieces = projector.polyline(np.array([[-5.0, 1.0, 1.0], [15.0, 1.0, 1.0]]))
    assert len(pieces) == 1
    assert np.isfinite(pieces[0]).all()
    assert projector.polygon(np.array([[-5.0, 0, 0], [5.0, 1, 0], [5.0, -1, 0]])) is None


def test_the_plan_is_painted_on_the_road_ahead_and_not_behind() -> None:
    ahead, behind = grey(), grey()
    draw_camera(ahead, moment(), CameraProjector(RIG, FRONT, SIZE))
    draw_camera(behind, moment(), CameraProjector(RIG, BACK, SIZE))
    rows, columns = np.nonzero(changed(ahead))
    assert rows.min() > SIZE[1] / 2  # below the horizon
    assert abs(columns.mean() - SIZE[0] / 2) < 3
    assert not changed(behind).any()


def test_a_stop_plan_has_a_colour_of_its_own() -> None:
    driving, stopping = grey(), grey()
    draw_camera(driving, moment(), CameraProjector(RIG, FRONT, SIZE))
    draw_camera(stopping, moment(trajectory=trajectory(SECOND, "no route")), CameraProjector(RIG, FRONT, SIZE))
    assert np.argmax(driving[changed(driving)].mean(axis=0)) == np.argmax(PLAN)
    assert np.argmax(stopping[changed(stopping)].mean(axis=0)) == np.argmax(STOP_PLAN)


def test_a_risky_object_is_boxed_where_the_camera_sees_it() -> None:
    still = trajectory(SECOND)
    still.poses = []  # no ribbon in the picture
    picture = grey()
    seen = moment(trajectory=still, objects=objects(SECOND, **CAR_AHEAD))
    draw_camera(picture, seen, CameraProjector(RIG, FRONT, SIZE))
    expected = tuple(int(c) for c in risk_bgr(0.9))
    rows, columns = np.nonzero((np.abs(picture.astype(int) - expected) < 30).all(axis=2))
    assert len(rows) > 50
    assert abs((columns.min() + columns.max()) / 2 - SIZE[0] / 2) < 25  # its label makes it a little lopsided


def test_colours_run_from_green_over_yellow_to_red() -> None:
    assert risk_bgr(0.0)[1:] == (255, 0)
    assert risk_bgr(0.5)[1:] == (255, 255)
    assert risk_bgr(1.0)[1:] == (0, 255)
    assert risk_bgr(7.0) == risk_bgr(1.0)


def test_forward_is_up_and_left_is_left() -> None:
    panel = BirdsEye(424, 488)
    ego, ahead, left = panel.pixels(np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]))
    assert ahead[1] < ego[1]
    assert ahead[0] == ego[0]
    assert left[0] < ego[0]


def test_a_dangerous_cell_glows_at_its_place() -> None:
    values = np.zeros((20, 40), np.float32)
    values[2, 35] = 1.0  # x = 15.5 m, y = -7.5 m
    panel = BirdsEye(424, 488)
    with_risk = panel.draw(moment(risk=risk_grid(SECOND, values))).sum(axis=2).astype(int)
    without = panel.draw(moment(risk=risk_grid(SECOND, np.zeros_like(values)))).sum(axis=2).astype(int)
    row, column = np.unravel_index(np.argmax(with_risk - without), without.shape)
    np.testing.assert_allclose([column, row], panel.pixels(np.array([[15.5, -7.5]]))[0], atol=4)


def test_unknown_cells_stay_dark() -> None:
    panel = BirdsEye(424, 488)
    unknown = panel.draw(moment(risk=risk_grid(SECOND, np.full((20, 40), np.nan))))
    at = panel.pixels(np.array([[15.5, -7.5]]))[0]
    np.testing.assert_array_equal(unknown[at[1], at[0]], BACKGROUND)


def test_map_lines_and_boxes_are_drawn_in_their_colours() -> None:
    messages = tick(SECOND)
    panel = BirdsEye(424, 488)
    marked = panel.draw(moment(markers=messages["/rsd/planner/markers"], objects=messages["/rsd/planner/objects"]))
    line = panel.pixels(np.array([[-12.0, 4.0]]))[0]
    assert marked[line[1], line[0], 2] > 200  # the marker's red
    box = panel.pixels(np.array([[CAR_AHEAD["x"] + 1.0, CAR_AHEAD["y"] + 0.7]]))[0]
    assert marked[box[1], box[0], 2] > 100


def test_a_moment_with_nothing_but_a_plan_can_be_drawn() -> None:
    assert BirdsEye(424, 488).draw(moment()).shape == (488, 424, 3)


@pytest.mark.parametrize("at", [(-30, 5), (5, -9), (95, 35), (500, 500), (2, 2)])
def test_text_beyond_the_edge_is_cut_off(at: tuple[int, int]) -> None:
    picture = np.zeros((40, 100, 3), np.uint8)
    put_text(picture, "a car, 12 m", at, 14)
    assert picture.shape == (40, 100, 3)


def test_long_text_is_shortened_to_the_width() -> None:
    assert shortened("short", 12, 100) == "short"
    cut = shortened("a reason that goes on and on " * 5, 12, 100)
    assert cut.endswith("…")
    assert text_width(cut, 12) <= 100


def test_a_label_that_would_cover_a_more_important_one_is_left_out() -> None:
    picture = grey()
    labels = Labels(picture)
    assert labels.put("car 0.42", (100, 50), 11, (255, 255, 255))
    before = picture.copy()
    assert not labels.put("car 0.35", (90, 58), 11, (255, 255, 255))
    np.testing.assert_array_equal(picture, before)
    assert labels.put("car 0.35", (100, 64), 11, (255, 255, 255))
    assert labels.put("car 0.35", (100 + text_width("car 0.42", 11), 50), 11, (255, 255, 255))


@pytest.mark.parametrize("risks", [(0.6, 0.9), (0.9, 0.6)])
def test_of_two_boxes_at_one_place_the_riskier_is_labelled(risks: tuple[float, ...], monkeypatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("rsd_ros.drawn_text.put_text", lambda image, text, *rest: written.append(text))
    found = objects(SECOND, **CAR_AHEAD)
    found.objects = [objects(SECOND, **(CAR_AHEAD | {"risk": risk})).objects[0] for risk in risks]
    draw_camera(grey(), moment(objects=found), CameraProjector(RIG, FRONT, SIZE))
    BirdsEye(424, 488).draw(moment(objects=found))
    assert written == ["car 0.90", "0.90"]
