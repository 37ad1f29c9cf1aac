"""Datasets as key frames: conversions of frames, whole Bench2Drive clips, the embedded world."""

import gzip
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from small_frames import BOXES, RIG, write_world

from rsd_model.contracts import Command, VehicleControl
from rsd_model.geometry import BENCH2DRIVE_CAMERAS, bench2drive_rig
from rsd_offline.datasets.bench2drive import Bench2DriveFrames
from rsd_offline.datasets.bench2drive_annotations import (
    ClipName,
    annotated_objects,
    camera_rig,
    class_of,
    ego_pose,
    split_ego,
    world_to_ego,
)
from rsd_offline.datasets.bench2drive_writer import ACTIONS, action_id
from rsd_offline.datasets.frames import FrameSourceError, lane_offset
from rsd_offline.datasets.sources import open_frames
from rsd_offline.datasets.world_frames import WorldFrames

SAMPLE_FRAMES = 26


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """An expert drive of the embedded world as a Bench2Drive clip, and what the world was at each frame."""
    from rsd_offline.datasets.bench2drive_writer import record_clip
    from rsd_world.world import Episode, World

    world = World(Episode(scenario=None, weather="night", seed=3, vehicles=12, pedestrians=8))
    truth = {}

    class BlankRenderer:
        rig, outputs = RIG, ("rgb", "depth", "instance")
        frames = 0

        def render(self, snapshot):
            truth[self.frames] = (snapshot, world.ego_state(), world.command())
            self.frames += 1
            instance = np.zeros((6, 72, 128), np.uint16)
            for place, actor in enumerate(snapshot.actors[::2]):  # every other one is in sight
                instance[0].flat[place] = actor.id
            depth = np.full((6, 72, 128), 12.6, np.float32)
            depth[:, 0] = np.inf
            return SimpleNamespace(rgb=np.full((6, 72, 128, 3), 90, np.uint8), depth=depth, instance=instance)

    root = tmp_path_factory.mktemp("bench2drive")
    folder = record_clip(root, world, BlankRenderer(), SAMPLE_FRAMES / 10)
    return SimpleNamespace(root=root, folder=folder, truth=truth)


def test_a_written_clip_reads_back_what_the_world_held(clip):
    source = open_frames(clip.root)
    assert isinstance(source, Bench2DriveFrames)
    assert [source.frame_id(i)[-5:] for i in range(len(source))] == [
        "00000",
        "00005",
        "00010",
        "00015",
        "00020",
        "00025",
    ]
    snapshot, ego, command = clip.truth[20]
    frame = source.frame(4)
    actors = {a.id: a for a in snapshot.actors}
    assert frame.ego_speed == pytest.approx(ego.speed)
    assert frame.command is command
    assert (frame.weather, frame.time_of_day, frame.town) == ("clear", "night", "TownAlder")
    bodies = [k for k, i in enumerate(frame.objects.ids) if int(i) in actors]
    assert len(bodies) >= 3
    for k in bodies:
        actor, box = actors[int(frame.objects.ids[k])], frame.objects.boxes[k]
        expected = np.linalg.inv(ego.pose) @ np.array([*actor.position, 1.0])
        np.testing.assert_allclose(box[:2], expected[:2], atol=1e-6)
        np.testing.assert_allclose(box[3:6], actor.size, atol=1e-9)
        assert np.cos(box[6] - (actor.yaw - snapshot.ego.yaw)) == pytest.approx(1.0, abs=1e-9)
        assert frame.objects.classes[k] == actor.kind.object_class
    assert {bool(h) for h in frame.objects.hidden[bodies]} == {False, True}


def test_a_clip_holds_what_public_tools_open_beside_the_annotation(clip):
    """Zoo's preparation reads metres from the first channel of depth, and the expert's action one frame behind."""
    for name in ("front", "back_left"):
        depth = cv2.imread(str(clip.folder / "camera" / f"depth_{name}" / "00003.png"))
        assert (depth[0, 0, 0], depth[40, 60, 0]) == (255, 13)
    written = sorted(path.stem for path in (clip.folder / "expert_assessment").iterdir())
    assert written == sorted(f"{n - 1:05d}" for n in range(SAMPLE_FRAMES))
    assert written[0] == "-0001"
    ids = [np.load(path)["arr_0"][-1] for path in (clip.folder / "expert_assessment").iterdir()]
    assert all(0 <= i < len(ACTIONS) == 39 for i in ids)


@pytest.mark.parametrize(
    ("control", "number"),
    [
        (VehicleControl(0.0, 0.02, 0.8), 0), (VehicleControl(0.6, 0.0, 0.0), 5), (VehicleControl(0.35, -0.65, 0.0), 10),
        (VehicleControl(0.95, 0.0, 0.0), 25), (VehicleControl(0.5, 0.5, 0.0, reverse=True), 38),
    ],
)  # fmt: skip
def test_a_control_is_named_by_the_nearest_action(control, number):
    assert action_id(control) == number


def test_velocities_of_a_clip_point_the_way_the_actors_move(clip):
    snapshot, ego, _ = clip.truth[20]
    frame = open_frames(clip.root).frame(4)
    actors = {a.id: a for a in snapshot.actors}
    to_base = np.linalg.inv(ego.pose)[:2, :2]
    moving = [k for k, i in enumerate(frame.objects.ids) if int(i) in actors]
    for k in moving:
        expected = to_base @ actors[int(frame.objects.ids[k])].velocity
        # A walker's velocity is its way in the last 0.1 s, a vehicle's lies along its heading.
        np.testing.assert_allclose(frame.objects.velocities[k], expected, atol=0.6)


def test_the_rig_of_a_clip_is_the_one_it_was_recorded_with(clip):
    frame = open_frames(clip.root).frame(0)
    np.testing.assert_allclose(frame.rig.cam_to_base, RIG.cam_to_base, atol=1e-12)
    np.testing.assert_allclose(frame.rig.intrinsics, RIG.intrinsics)
    assert frame.load_images()[0].shape == (72, 128, 3)


def test_the_future_of_a_clip_is_where_the_ego_was_half_a_second_later(clip):
    frame = open_frames(clip.root).frame(3)
    _, now, _ = clip.truth[15]
    _, later, _ = clip.truth[20]
    expected = (np.linalg.inv(now.pose) @ later.pose)[:2, 3]
    np.testing.assert_allclose(frame.future[0], expected, atol=1e-9)
    assert len(frame.future) == 2
    assert open_frames(clip.root).frame(5).future is None


def test_published_camera_table_in_carla_axes_gives_the_bench2drive_rig():
    sensors = {}
    for name, (x, y, z, yaw, fov) in BENCH2DRIVE_CAMERAS.items():
        c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
        focal = 1600 / (2 * np.tan(np.radians(fov) / 2))
        sensors[name] = {
            "cam2ego": [[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]],
            "intrinsic": [[focal, 0, 800], [0, focal, 450], [0, 0, 1]], "image_size_x": 1600, "image_size_y": 900,
        }  # fmt: skip
    rig, expected = camera_rig({"sensors": sensors}), bench2drive_rig()
    np.testing.assert_allclose(rig.cam_to_base, expected.cam_to_base, atol=1e-12)
    np.testing.assert_allclose(rig.intrinsics, expected.intrinsics, rtol=1e-6)


EGO = {"class": "ego_vehicle", "id": "9", "location": [100.0, 50.0, 0.0], "rotation": [0.0, 0.0, 90.0]}
# CARLA: the ego faces +y; this car stands 10 m ahead and 2 m to the right of it, turned 30 degrees clockwise.
CAR = {
    "class": "vehicle", "id": "12", "type_id": "vehicle.audi.tt", "base_type": "car", "rotation": [0.0, 0.0, 120.0],
    "location": [98.0, 60.0, 0.0], "center": [98.0, 60.0, 0.7], "extent": [2.0, 0.9, 0.7], "speed": 4.0,
    "num_points": 8,
}  # fmt: skip


@pytest.mark.parametrize("ego_class", ["ego_vehicle", "vehicle"])
def test_left_handed_annotations_become_base_link_under_both_names_of_the_ego(ego_class):
    ego = EGO | {"class": ego_class}
    inverse = np.linalg.inv(
        [[0.0, -1.0, 0.0, 100.0], [1.0, 0.0, 0.0, 50.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    )
    ego["world2ego"] = inverse.tolist()
    annotation = {"bounding_boxes": [ego, CAR], "sensors": {}}
    assert split_ego(annotation)[0] is ego
    objects = annotated_objects(annotation)
    np.testing.assert_allclose(objects.boxes[0], [10.0, -2.0, 0.7, 4.0, 1.8, 1.4, -np.radians(30.0)], atol=1e-9)
    np.testing.assert_allclose(
        objects.velocities[0], 4.0 * np.array([np.cos(np.pi / 6), -np.sin(np.pi / 6)]), atol=1e-9
    )
    np.testing.assert_allclose(ego_pose(annotation)[:2, 3], [100.0, -50.0])


def test_the_pose_comes_from_whatever_the_annotation_has():
    by_box = {"bounding_boxes": [EGO], "sensors": {}}
    by_compass = {"bounding_boxes": [], "sensors": {}, "x": 100.0, "y": 50.0, "theta": np.pi}
    np.testing.assert_allclose(world_to_ego(by_compass), world_to_ego(by_box), atol=1e-9)
    with pytest.raises(FrameSourceError, match="no usable x, y, theta"):
        world_to_ego({"bounding_boxes": [], "sensors": {}, "x": 1.0, "y": 2.0, "theta": float("nan")})


def test_nan_literals_are_read_and_damaged_files_named(clip, tmp_path):
    path = tmp_path / "A_Town01_Route1_Weather2" / "anno" / "00000.json.gz"
    path.parent.mkdir(parents=True)
    good = json.loads(gzip.decompress((clip.folder / "anno" / "00000.json.gz").read_bytes()))
    good["speed"], good["theta"] = float("nan"), float("nan")
    good["bounding_boxes"][1]["speed"] = float("nan")
    with gzip.open(path, "wt") as file:
        json.dump(good, file)
    assert b"NaN" in gzip.decompress(path.read_bytes())
    frame = open_frames(tmp_path).frame(0)
    assert frame.ego_speed is None
    assert np.isnan(frame.objects.velocities[0]).any()
    assert (frame.weather, frame.time_of_day) == ("rain", "day")
    damaged = tmp_path / "B_Town01_Route1_Weather2" / "anno" / "00000.json.gz"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FrameSourceError, match=r"00000.json.gz is not a readable annotation"):
        open_frames(tmp_path).frame(1)


@pytest.mark.parametrize(
    ("box", "name"),
    [
        ({"class": "walker"}, "pedestrian"),
        ({"class": "vehicle", "base_type": "bicycle", "type_id": "vehicle.x"}, "bicycle"),
        ({"class": "vehicle", "type_id": "vehicle.ford.ambulance", "base_type": "van"}, "van"),
        ({"class": "vehicle", "type_id": "vehicle.new.model"}, "car"),
        ({"class": "static", "type_id": "static.prop.constructioncone"}, "traffic_cone"),
        ({"class": "static", "type_id": "static.prop.bin"}, "others"),
        ({"class": "traffic_light"}, "traffic_light"),
    ],
)
def test_classes_of_bench2drive_boxes(box, name):
    assert class_of(box) == name


def test_clip_names_tell_weather_and_time_of_day():
    assert ClipName.parse("ParkedObstacle_Town12_Route100_Weather22").conditions == ("fog", "night")
    assert ClipName.parse("DynamicObjectCrossing_Town02_Route13_Weather6").conditions == ("clear", "dusk")
    assert ClipName.parse("my_drive").conditions == ("", "")


def test_drives_of_the_embedded_world_are_key_frames(tmp_path):
    source = open_frames(write_world(tmp_path, 4))
    assert isinstance(source, WorldFrames)
    frame = source.frame(1)
    assert (frame.frame_id, frame.clip, frame.time_of_day) == ("drive/00001", "drive", "night")
    assert frame.command is Command.LANEFOLLOW
    assert frame.lane_offset == pytest.approx(-0.5)  # the centre line is on the left of the ego
    np.testing.assert_allclose(frame.future, [[4.0, 0.0], [8.0, 0.0]])
    np.testing.assert_array_equal(frame.objects.boxes, BOXES)


def test_drives_of_an_older_format_are_refused_before_anything_is_labelled(tmp_path):
    about = write_world(tmp_path, 2) / "drive" / "episode.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"format_version": 0}))
    with pytest.raises(FrameSourceError, match=r"has format version 0, .* collect anew"):
        open_frames(tmp_path)


def test_lane_offset_is_left_positive_and_looks_at_the_own_direction_only():
    own, oncoming = [[-5.0, -0.4], [20.0, -0.4]], [[20.0, 0.1], [-5.0, 0.1]]
    assert lane_offset(np.array([own, oncoming])) == pytest.approx(0.4)
    assert lane_offset(np.array([oncoming])) is None
    assert lane_offset(np.zeros((0, 2, 2))) is None


def test_an_unknown_folder_is_named_with_what_was_looked_for(tmp_path):
    with pytest.raises(FrameSourceError, match="holds none of"):
        open_frames(tmp_path)
    with pytest.raises(FrameSourceError, match="does not exist"):
        open_frames(tmp_path / "nowhere")
