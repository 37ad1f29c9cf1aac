import numpy as np
import pytest

from rsd_model.contracts import MAP_CLASSES
from rsd_offline.datasets.bench2drive_map import SPACING, TRIGGER_VOLUMES, write_hd_map
from rsd_world.roads.towns import load_town


@pytest.fixture(scope="module")
def town():
    return load_town("alder")


@pytest.fixture(scope="module")
def roads(town, tmp_path_factory):
    path = write_hd_map(tmp_path_factory.mktemp("maps"), town)
    assert path.name == "TownAlder_HD_map.npz"
    return dict(np.load(path, allow_pickle=True)["arr"])  # as the public preparation reads it


def lines(roads):
    return [
        line for road in roads.values() for lane, group in road.items() if lane != TRIGGER_VOLUMES for line in group
    ]


def test_every_lane_has_a_centre_and_lines_are_dense_and_typed(town, roads):
    kinds = [line["Type"] for line in lines(roads)]
    assert kinds.count("Center") == len(town.lanes.lanes)
    assert set(kinds) <= set(MAP_CLASSES)
    for line in lines(roads)[::20]:
        points = np.array([place for place, _ in line["Points"]])
        assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() < SPACING + 0.02


def test_centres_lie_on_their_lanes_and_turn_with_them_once_flipped_back(town, roads):
    centres = [line for line in lines(roads) if line["Type"] == "Center"]
    for line in centres[::10]:
        (x, y, _), (_, _, yaw) = line["Points"][len(line["Points"]) // 2]
        location = town.lanes.nearest(np.array([x, -y]), yaw=-np.radians(yaw), max_distance=1.0)
        assert location is not None
        assert abs(location.lateral) < 0.2


def test_a_trigger_volume_ends_at_the_stop_line_of_its_light(town, roads):
    volumes = [v for road in roads.values() for v in road.get(TRIGGER_VOLUMES, [])]
    kinds = [v["Type"] for v in volumes]
    assert kinds.count("TrafficLight") == sum(len(light.lanes) for light in town.lights)
    assert kinds.count("StopSign") == sum(len(sign.lanes) for sign in town.stop_signs)
    ends = [np.array(v["Points"])[:2].mean(0) * (1, -1, 1) for v in volumes if v["Type"] == "TrafficLight"]
    for light in town.lights:
        for index in light.lanes:
            assert np.linalg.norm(ends - town.lanes.lanes[index].points[-1], axis=1).min() < 1e-6
