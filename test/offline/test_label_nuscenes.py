"""nuScenes through its tables, and the one real frame that lies beside the checkout of some machines."""

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_runs import label, rows
from teacher_server import Reply, TeacherServer, asked_numbers, entry, good_answer, is_risk

from rsd_model.geometry import project_to_image
from rsd_offline.datasets.sources import open_frames
from rsd_offline.labeling.drawing import draw_labels
from rsd_offline.labeling.labeler import LabelConfig
from rsd_offline.labeling.lift import decode_map

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "nuscenes_sample"


def _nuscenes_tables(root):
    """Two samples of one scene with one car and one camera image size, as nuScenes' tables."""
    version = root / "v1.0-test"
    version.mkdir()
    identity = {"rotation": [1.0, 0.0, 0.0, 0.0], "translation": [0.0, 0.0, 0.0]}
    turned = {"rotation": [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)], "translation": [100.0, 10.0, 0.0]}  # faces +y
    ahead = turned | {"translation": [100.0, 14.0, 0.0]}
    optical = {"rotation": [0.5, -0.5, 0.5, -0.5], "translation": [1.5, 0.0, 1.5]}
    channels = ["LIDAR_TOP", *(f"CAM_{n}" for n in "FRONT FRONT_LEFT FRONT_RIGHT BACK BACK_LEFT BACK_RIGHT".split())]
    camera = {"camera_intrinsic": [[1266.0, 0.0, 800.0], [0.0, 1266.0, 450.0], [0.0, 0.0, 1.0]]}
    data = [
        {
            "token": f"{c}{n}", "sample_token": f"s{n}", "ego_pose_token": f"e{n}", "calibrated_sensor_token": f"c{c}",
            "filename": f"{c}{n}.jpg", "width": 1600, "height": 900, "is_key_frame": True, "timestamp": n * 500000,
            "fileformat": "jpg", "prev": "", "next": "",
        }
        for c in channels for n in (0, 1)
    ]  # fmt: skip
    car = {"size": [1.8, 4.2, 1.6], "rotation": turned["rotation"], "instance_token": "i", "visibility_token": "4",
           "attribute_tokens": [], "num_lidar_pts": 9, "num_radar_pts": 0}  # fmt: skip
    tables = {
        "category": [{"token": "k", "name": "vehicle.car", "description": ""}], "attribute": [],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "instance": [{"token": "i", "category_token": "k", "nbr_annotations": 2, "first_annotation_token": "a0",
                      "last_annotation_token": "a1"}],
        "sensor": [
            {"token": f"n{c}", "channel": c, "modality": "lidar" if c == "LIDAR_TOP" else "camera"} for c in channels
        ],
        "calibrated_sensor": [
            {"token": f"c{c}", "sensor_token": f"n{c}"}
            | (identity | {"camera_intrinsic": []} if c == "LIDAR_TOP" else optical | camera)
            for c in channels
        ],
        "ego_pose": [{"token": "e0", "timestamp": 0} | turned, {"token": "e1", "timestamp": 500000} | ahead],
        "log": [{"token": "l", "logfile": "", "vehicle": "", "date_captured": "", "location": "singapore-onenorth"}],
        "scene": [{"token": "c", "log_token": "l", "name": "scene-0001", "description": "Night, rain", "nbr_samples": 2,
                   "first_sample_token": "s0", "last_sample_token": "s1"}],
        "sample": [{"token": f"s{n}", "timestamp": n * 500000, "scene_token": "c", "prev": "s0" if n else "",
                    "next": "" if n else "s1"} for n in (0, 1)],
        "sample_data": data,
        "sample_annotation": [
            car | {"token": f"a{n}", "sample_token": f"s{n}", "translation": [101.0, 30.0 + n, 0.8],
                   "prev": "a0" if n else "", "next": "" if n else "a1"} for n in (0, 1)
        ],
        "map": [{"token": "m", "log_tokens": ["l"], "category": "semantic_prior", "filename": "maps/none.png"}],
    }  # fmt: skip
    for name, content in tables.items():
        (version / f"{name}.json").write_text(json.dumps(content))
    (root / "maps").mkdir()
    (root / "maps" / "none.png").touch()  # the devkit looks whether it exists
    return root


def test_nuscenes_tables_become_key_frames(tmp_path):
    pytest.importorskip("nuscenes.nuscenes")
    source = open_frames(_nuscenes_tables(tmp_path))
    assert [source.frame_id(i) for i in range(len(source))] == ["scene-0001/00000", "scene-0001/00001"]
    frame = source.frame(0)
    np.testing.assert_allclose(frame.objects.boxes[0], [20.0, -1.0, 0.8, 4.2, 1.8, 1.6, 0.0], atol=1e-9)
    np.testing.assert_allclose(frame.objects.velocities[0], [2.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(frame.future, [[4.0, 0.0]], atol=1e-9)
    assert (frame.ego_speed, frame.weather, frame.time_of_day) == (pytest.approx(8.0), "rain", "night")
    pixels, depth = project_to_image(frame.rig, 0, np.array([[11.5, 0.0, 1.5]]))
    np.testing.assert_allclose((*pixels[0], depth[0]), (800.0, 450.0, 10.0), atol=1e-6)


@pytest.mark.skipif(not (SAMPLE / "sample.json").is_file(), reason="the real frame is not here")
def test_a_real_frame_is_grounded_asked_lifted_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    def scripted(_number, body):
        """The nearest object is the most dangerous, and what the list calls a pedestrian crosses."""
        if not is_risk(body):
            return Reply(good_answer(body))
        text = body["messages"][1]["content"][-1]["text"]
        entries = [
            entry(n, 0.9 / n, n) | {"crosses_ego_path": f"\n{n}: pedestrian" in text} for n in asked_numbers(body)
        ]
        return Reply(json.dumps({"objects": entries}))

    source = open_frames(SAMPLE)
    frame = source.frame(0)
    assert len(frame.objects) == 69
    with TeacherServer(scripted) as server:
        progress = label(server, tmp_path, source=source, config=LabelConfig(samples=1))
        sizes = {picture_size(body) for body in server.bodies}
    assert (progress.labelled, progress.failed) == (1, 0)
    assert sizes == {(1920, 720), (1024, 576)}  # montage of six cameras, front view
    objects = rows(tmp_path, "objects")
    assert len(objects) == 30
    assert all(o["valid"] for o in objects)
    assert {o["crosses_ego_path"] for o in objects if o["class_name"] == "pedestrian"} == {True}
    most = min(objects, key=lambda o: o["rank"])
    risk, judged = decode_map(rows(tmp_path, "maps")[0])
    row, column = int(most["box"][1] + 20.0), int(most["box"][0] + 20.0)  # 1 m cells, from 20 m behind and 20 m right
    assert judged[row, column]
    assert risk[row, column] > 0.6  # of 0.9 at its middle: a barrier is thinner than a cell
    drawn = draw_labels(frame, objects, rows(tmp_path, "frames")[0], None, rows(tmp_path, "maps")[0])
    assert drawn.shape[1] == 3 * 480
    assert drawn.std() > 30.0


def picture_size(body):
    """Width and height in px of the picture in a request."""
    data = body["messages"][1]["content"][0]["image_url"]["url"].partition(",")[2]
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    return image.shape[1], image.shape[0]
