"""Checks of single answers, agreement between answers, grounding, lifting, controls."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_frames import BOXES, CLASSES, RIG, SmallFrames, images, write_world

from rsd_model.contracts import CameraRig
from rsd_model.geometry import project_to_image
from rsd_offline.labeling.consistency import diff_risk, kendall_tau, label_weight, mean_diff_risk
from rsd_offline.labeling.detection import Detection, ground_detections, suppress_doubles
from rsd_offline.labeling.grounding import GroundingConfig, ground_annotations, visible_boxes
from rsd_offline.labeling.labeler import LabelConfig
from rsd_offline.labeling.lift import MapConfig, decode_map, dense_map, lift_image_boxes
from rsd_offline.labeling.pictures import PictureConfig, brighten, compose, draw_future, luminance
from rsd_offline.labeling.prompts import PromptError, families, load_prompt
from rsd_offline.labeling.questions import Scene, risk_question
from rsd_offline.labeling.run import LabelRun, RunConfig
from rsd_offline.labeling.store import read_table
from rsd_offline.labeling.teachers.controls import ControlTeacher, Dial, geometric_risk
from rsd_offline.labeling.throttle import Throttle

risks = st.dictionaries(st.integers(1, 12), st.floats(0.0, 1.0), max_size=8)


@settings(max_examples=60)
@given(risks, risks)
def test_diff_risk_is_symmetric_and_within_zero_and_one(a, b):
    found = diff_risk(a, b)
    assert found == diff_risk(b, a) or found == pytest.approx(diff_risk(b, a))
    assert found is None or 0.0 <= found <= 1.0
    assert (found is None) == (not set(a) & set(b))


@settings(max_examples=60)
@given(risks)
def test_diff_risk_of_equal_assignments_is_zero(a):
    assert not diff_risk(a, dict(a))


def test_diff_risk_weighs_what_is_dangerous():
    calm = diff_risk({1: 0.9, 2: 0.1, 3: 0.05}, {1: 0.9, 2: 0.05, 3: 0.1})
    grave = diff_risk({1: 0.9, 2: 0.1, 3: 0.05}, {1: 0.1, 2: 0.9, 3: 0.05})
    assert calm < 0.1 < 0.5 < grave


def test_kendall_tau_knows_order_and_its_reverse():
    a = {1: 0.1, 2: 0.4, 3: 0.9}
    assert kendall_tau(a, {k: v / 2 for k, v in a.items()}) == 1.0
    assert kendall_tau(a, {k: 1.0 - v for k, v in a.items()}) == -1.0
    assert kendall_tau(a, dict.fromkeys(a, 0.5)) is None
    assert mean_diff_risk([a]) is None


def test_weight_falls_with_spread_missing_samples_and_disagreement():
    assert label_weight(0.0, 3, 3, 0.0, 0.35) == 1.0
    assert label_weight(0.1, 3, 3, 0.0, 0.35) == pytest.approx(0.6)
    assert label_weight(0.0, 1, 3, None, 0.35) == pytest.approx(1 / 3)
    assert label_weight(0.0, 3, 3, 0.4, 0.35) == 0.0


def test_every_family_has_both_prompts_and_a_missing_one_is_named(tmp_path):
    assert families() == ["general", "qwen2_5_vl", "reasoning"]
    for family in families():
        assert load_prompt(family, "risk").schema["required"] == ["objects"]
        assert load_prompt(family, "action").view == "front"
    assert load_prompt("reasoning", "risk").max_tokens > load_prompt("general", "risk").max_tokens
    with pytest.raises(PromptError, match="families that exist: general, qwen2_5_vl, reasoning"):
        load_prompt("unheard_of", "risk")


def test_a_prompt_of_ones_own_with_a_wrong_name_or_a_plain_dollar_is_named(tmp_path):
    theirs = load_prompt("general", "risk")
    for user, words in (("It costs $5", "a plain \\$ is written"), ("$weather", "nothing is known of 'weather'")):
        prompt = replace(theirs, sections=theirs.sections | {"user": user})
        with pytest.raises(PromptError, match=words):
            prompt.fill("user", count=1)


def test_a_nearer_box_hides_a_farther_one_behind_it():
    boxes = np.array(
        [[8.0, 0.0, 1.5, 6.0, 2.6, 3.0, 0.0], [16.0, 0.0, 0.8, 4.0, 1.8, 1.6, 0.0], [16.0, 9.0, 0.8, 4, 1.8, 1.6, 0]]
    )
    _, visible, _ = visible_boxes(RIG, boxes)
    front = RIG.names.index("CAM_FRONT")
    assert visible[front, 0] == 1.0
    assert visible[front, 1] < 0.05
    assert visible[front, 2] > 0.95


def test_image_boxes_hold_the_projected_corners_and_are_cut_at_the_edge():
    near = np.array([[2.0, 0.0, 0.8, 4.5, 1.9, 1.6, 0.0]])  # reaches behind the camera
    rectangles, _, _ = visible_boxes(RIG, np.concatenate([BOXES[:1], near]))
    front = RIG.names.index("CAM_FRONT")
    centre, _ = project_to_image(RIG, front, BOXES[:1, :3])
    left, top, right, bottom = rectangles[front, 0]
    assert left < centre[0, 0] < right
    assert top < centre[0, 1] < bottom
    assert rectangles[front, 1, 3] == RIG.sizes[front, 1]
    assert np.isnan(rectangles[RIG.names.index("CAM_BACK"), 0]).all()


def test_grounding_numbers_the_visible_objects_by_distance():
    frame = SmallFrames(1).frame(0)
    found = ground_annotations(frame, GroundingConfig())
    assert [(o.number, o.object_id, o.class_name) for o in found] == [
        (1, 101, "car"),
        (2, 102, "pedestrian"),
        (3, 103, "truck"),
    ]
    assert [o.object_id for o in ground_annotations(frame, GroundingConfig(max_range=12.0))] == [101]
    assert len(ground_annotations(frame, GroundingConfig(max_objects=2))) == 2


def test_a_detected_box_is_lifted_to_where_its_lower_edge_meets_the_ground():
    front = RIG.names.index("CAM_FRONT")
    foot, _ = project_to_image(RIG, front, np.array([[12.0, 2.0, 0.0]]))
    u, v = foot[0]

    class Seen:
        name = "fixed"

        def detect(self, image):
            box = (u - 3.0, v - 12.0, u + 3.0, v)
            return [Detection("pedestrian", 0.9, box), Detection("car", 0.5, (u - 3, v - 12, u + 3, v - 0.2))]

    frame = SmallFrames(1).frame(0)
    found = ground_detections(frame, Seen(), GroundingConfig(cameras=("CAM_FRONT",)))
    assert [o.class_name for o in found] == ["pedestrian"]  # the second box is the same thing
    assert found[0].position == pytest.approx((12.35, 2.06), abs=0.05)  # half a pedestrian beyond its near side
    above_horizon = lift_image_boxes(np.array([[5.0, 1.0, 9.0, 4.0]]), np.array([front]), ["car"], RIG)
    assert np.isnan(above_horizon).all()
    assert suppress_doubles([]) == []


def test_the_dense_map_says_where_the_teacher_judged():
    boxes, config = BOXES[:2], MapConfig()
    values, mask = decode_map(dense_map("f", boxes, np.array([0.8, np.nan]), config, False))
    assert values.shape == config.shape == mask.shape
    row, column = int(20.0), int(20.0 + 10.0)
    assert values[row, column] == pytest.approx(0.8, abs=0.005)
    assert mask[row, column]
    assert not mask[(20 + 5), (20 + 14)]  # the pedestrian was not judged
    assert not mask[0, 0]
    assert decode_map(dense_map("f", boxes, np.array([0.8, np.nan]), config, True))[1][0, 0]


def test_brightening_lifts_a_dark_picture_and_keeps_its_order():
    dark = tuple((i * 0.12).astype(np.uint8) for i in images(0))
    measured = luminance(dark)
    bright = [brighten(i, measured, 100.0) for i in dark]
    assert measured < 20.0
    assert 70.0 < luminance(bright) < 140.0


def test_the_red_line_follows_the_ground_ahead():
    frame = SmallFrames(1).frame(0)
    picture, tiles = compose(frame.load_images(), frame.rig, "front", PictureConfig())
    picture[:] = 0
    assert draw_future(picture, tiles, frame.rig, frame.future)
    rows, columns = np.nonzero(picture[..., 0] > 128)
    assert abs(columns.mean() - picture.shape[1] / 2) < 3
    assert rows.min() > picture.shape[0] / 2
    assert not draw_future(picture, tiles, frame.rig, np.zeros((6, 2)))  # standing
    montage, tiles = compose(frame.load_images(), frame.rig, "montage", PictureConfig())
    montage[:] = 0
    draw_future(montage, tiles, frame.rig, frame.future)
    rows, columns = np.nonzero(montage[..., 0] > 128)
    assert rows.max() < 72  # it stays in the front image, above the back one
    assert columns.min() >= 128


def test_a_montage_of_another_rig_holds_every_camera():
    rig = CameraRig(("left", "right"), RIG.intrinsics[:2], RIG.cam_to_base[:2], RIG.sizes[:2])
    picture, tiles = compose(images(0)[:2], rig, "montage", PictureConfig())
    assert picture.shape == (72, 256, 3)
    assert [t.camera for t in tiles] == [0, 1]


def _run(tmp_path, teacher, source=None, **config):
    source = source or SmallFrames(6)
    run = LabelRun(source, tmp_path / "out", teacher, LabelConfig(tasks=("risk",), **config), RunConfig())
    asyncio.run(run.run())
    return [read_table(tmp_path / "out", kind).to_pylist() for kind in ("objects", "audit")]


def test_the_privileged_teacher_repeats_what_the_world_recorded(tmp_path):
    from rsd_offline.datasets.world_frames import WorldFrames

    root = write_world(tmp_path / "world", 3)
    objects, audit = _run(tmp_path, ControlTeacher("privileged", None, root / "labels"), WorldFrames(root))
    assert [(o["object_id"], round(o["risk"], 3)) for o in objects[:3]] == [(101, 0.9), (102, 0.5), (103, 0.1)]
    assert all(a["status"] == "ok" and a["omitted"] == 0 for a in audit)


def test_the_privileged_teacher_is_not_asked_beyond_its_reach(tmp_path):
    from rsd_offline.datasets.world_frames import WorldFrames
    from rsd_world.expert.risk import RANGE

    root = write_world(tmp_path / "world", 2)
    far = write_world(tmp_path / "far", 2, np.concatenate([BOXES[:2], [[RANGE + 1.0, 0.0, 1.6, 8.0, 2.6, 3.2, 0.0]]]))
    for folder, asked in ((root, 3), (far, 2)):
        _, audit = _run(folder, ControlTeacher("privileged", None, folder / "labels"), WorldFrames(folder))
        assert [(a["asked"], a["omitted"]) for a in audit] == [(asked, 0)] * 2


def test_the_dial_omits_invents_and_misranks(tmp_path):
    from rsd_offline.datasets.world_frames import WorldFrames

    root = write_world(tmp_path / "world", 30)
    dial = Dial(omissions=0.4, misranking=0.5, inventions=1.0)
    objects, audit = _run(
        tmp_path, ControlTeacher("privileged", dial, root / "labels"), WorldFrames(root), max_diff_risk=1.0
    )
    omitted = sum(a["omitted_first"] for a in audit) / sum(a["asked"] * a["samples"] for a in audit)
    invented = sum(int(f.split(":")[1]) for a in audit for f in a["faults"] if f.startswith("invented_id"))
    assert 0.3 < omitted < 0.5
    assert invented > 30
    assert np.std([o["risk"] for o in objects if o["object_id"] == 101 and o["valid"]]) > 0.05
    with pytest.raises(ValueError, match=r"omissions is 1\.5"):
        Dial(omissions=1.5)


def test_controls_without_samples_are_asked_once_and_constant_is_constant(tmp_path):
    objects, audit = _run(tmp_path, ControlTeacher("constant"))
    assert {o["risk"] for o in objects} == {0.5}
    assert {a["samples"] for a in audit} == {1}
    with pytest.raises(ValueError, match="choose among geometric, random, constant, privileged"):
        ControlTeacher("psychic")


def test_geometric_risk_rises_as_the_meeting_comes_nearer():
    car, pedestrian, truck = ground_annotations(SmallFrames(1).frame(0), GroundingConfig())
    assert car.class_name == CLASSES[0]
    assert geometric_risk(car, 20.0)[0] > geometric_risk(car, 4.0)[0]
    assert geometric_risk(car, 8.0)[0] > geometric_risk(truck, 8.0)[0]
    assert geometric_risk(pedestrian, 0.0)[1] == 99.0


def test_question_names_change_with_words_pictures_teacher_and_sample():
    frame = SmallFrames(1).frame(0)
    scene = Scene(frame, tuple(ground_annotations(frame, GroundingConfig())), {})
    prompt = load_prompt("general", "risk")
    first = risk_question(scene, prompt, 0)
    names = {
        first.key("a"),
        first.key("b"),
        risk_question(scene, prompt, 1).key("a"),
        risk_question(scene, prompt, 0, 1).key("a"),
    }
    names.add(risk_question(scene, prompt, 0, only=(2,)).key("a"))
    assert len(names) == 5
    assert risk_question(scene, prompt, 0).key("a") == first.key("a")


def test_throttle_halves_once_per_round_and_recovers():
    async def play():
        throttle = Throttle(64, first_pause=0.0)
        async with throttle.slot() as began:
            pass
        for _ in range(20):  # failures of requests that were sent before the first cut
            throttle.overrun(began, None)
        assert throttle.limit == 32
        for _ in range(2000):
            throttle.succeeded()
        return throttle.limit

    assert asyncio.run(play()) == 64


def test_a_server_is_silent_from_the_first_request_on_that_it_failed():
    async def play():
        throttle = Throttle(4, first_pause=0.0)
        assert throttle.silent_for == 0.0  # whatever time has passed without asking
        async with throttle.slot() as began:
            throttle.overrun(began - 100.0, None)
        throttle.overrun(began - 50.0, None)
        assert throttle.silent_for >= 100.0
        throttle.succeeded()
        return throttle.silent_for

    assert asyncio.run(play()) == 0.0
