import numpy as np
import pytest

from rsd_model.contracts import OBJECT_CLASSES, Command, DetectedObjects, MapElements, PlannerOutput, RiskGrid
from rsd_model.resources import config_path
from rsd_offline.evaluation.drive import evaluation_episodes
from rsd_offline.evaluation.open_loop import OpenLoopConfig, match, score_frame, summary, watch_all
from rsd_world.expert.observations import Observation

CAR, PEDESTRIAN = OBJECT_CLASSES.index("car"), OBJECT_CLASSES.index("pedestrian")
PLAN = np.stack([4.0 * np.arange(1, 7), np.zeros(6)], axis=1)


def boxes(*places: tuple[float, float]) -> np.ndarray:
    found = np.zeros((len(places), 7))
    found[:, :2] = np.array(places).reshape(-1, 2)
    return found


def seen(places, velocities, labels, pixels) -> Observation:
    count = len(places)
    return Observation(
        boxes(*places), np.array(velocities, float).reshape(-1, 2), np.array(labels, int), np.arange(count) + 10,
        np.array(pixels), np.zeros((0, 20, 2)), np.zeros(0, int),
    )  # fmt: skip


def output(places, velocities, labels, scores, risks) -> PlannerOutput:
    count = len(places)
    objects = DetectedObjects(
        boxes(*places), np.array(velocities, float).reshape(-1, 2), np.array(labels, int), np.array(scores, float),
        np.array(risks, float), np.zeros((count, 6, 6, 2)), np.zeros((count, 6)),
    )  # fmt: skip
    return PlannerOutput(
        0.0, Command.LANEFOLLOW, PLAN + [1.0, 0.0], np.zeros((6, 6, 2)), objects,
        MapElements(np.zeros((0, 10, 2)), np.zeros(0, int), np.zeros(0)),
        RiskGrid(np.zeros((1, 1)), 1.0, (0.0, 0.0)), 1.0,
    )  # fmt: skip


THERE = seen(
    [(10, 0), (20, 3), (5, -4), (0, 50), (15, -8)], [(5, 0), (0, 0), (0, 1), (0, 0), (0, 0)],
    [CAR, CAR, PEDESTRIAN, CAR, CAR], [90, 40, 30, 40, 3],
)  # fmt: skip
RISKS = {10: 0.9, 11: 0.1, 12: 0.5, 14: 0.2}


def score(*detections):
    return score_frame(output(*zip(*detections, strict=True)), PLAN, THERE, RISKS, (30.0, 15.0), 0.3)


def test_detections_are_matched_by_place_and_what_is_hidden_or_outside_is_not_asked_for():
    frame = score(
        ((11, 0), (3, 0), CAR, 0.9, 0.6),
        ((5.5, -4), (0, 0), PEDESTRIAN, 0.5, 0.7),
        ((15, -8), (0, 0), CAR, 0.6, 0.1),  # finds the hidden one: neither right nor wrong
        ((-9, 9), (0, 0), CAR, 0.8, 0.0),  # nothing is there
        ((20, 3), (0, 0), CAR, 0.2, 0.0),  # right, but too unsure
    )
    assert frame.labels.tolist() == [CAR, CAR, PEDESTRIAN]
    np.testing.assert_allclose(frame.centre_errors, [1.0, np.nan, 0.5])
    np.testing.assert_allclose(frame.velocity_errors, [2.0, np.nan, np.nan])
    np.testing.assert_allclose(frame.teacher, [0.9, 0.1, 0.5])
    np.testing.assert_allclose(frame.risks, [0.6, np.nan, 0.7])
    assert frame.false_labels.tolist() == [CAR]
    found = summary([frame, frame])
    assert found["objects"]["vehicle"] == {
        "there": 4, "recall": 0.5, "precision": 0.5, "centre error m": 1.0, "velocity error m/s, moving ones": 2.0,
    }  # fmt: skip
    assert found["objects"]["pedestrian"]["recall"] == 1.0
    assert found["objects"]["bicycle"]["recall"] is None
    assert found["plan error m"] == {"1 s": 1.0, "2 s": 1.0, "3 s": 1.0, "mean": 1.0}
    risk = found["risk"]
    assert risk["Kendall's tau"] == -1.0  # it finds the pedestrian more dangerous than the car
    assert risk["most dangerous object named"] == 0.0
    assert [row["objects"] for row in risk["by risk"]] == [0, 2, 0, 2, 0, 2]
    assert risk["by risk"][5]["network's mean"] == pytest.approx(0.6)
    assert risk["by risk"][1]["detected"] == 0.0


def test_a_danger_that_is_not_detected_is_not_named():
    found = summary([score(((5, -4), (0, 0), PEDESTRIAN, 0.5, 0.7))])
    assert found["risk"]["frames with a danger"] == 1
    assert found["risk"]["most dangerous object named"] == 0.0


def test_the_whole_of_the_pairs_is_nearest_not_each_pair_for_itself():
    assert match(np.array([[0.0, 0.0], [1.5, 0.0]]), np.array([[1.0, 0.0], [-1.4, 0.0]])) == [(0, 1), (1, 0)]
    assert match(np.array([[0.0, 0.0]]), np.array([[2.1, 0.0]])) == []
    assert match(np.zeros((0, 2)), np.zeros((3, 2))) == []


def test_nothing_driven_is_an_error():
    with pytest.raises(ValueError, match="no frame"):
        summary([])


def test_the_shipped_weights_watch_an_expert_drive():
    from rsd_world.render.offscreen import GraphicsUnavailableError

    config = OpenLoopConfig(str(config_path("weights/nano.safetensors")), max_seconds=2.6)
    try:
        (frames,) = watch_all(config, evaluation_episodes("birch", 1, 1, [], ["clear"]), 1)
    except GraphicsUnavailableError as error:
        pytest.skip(f"no rendering here: {error}")
    assert len(frames) == 6
    found = summary(frames)
    assert found["plan error m"]["mean"] < 5.0
    assert found["objects"]["vehicle"]["there"] > 0
