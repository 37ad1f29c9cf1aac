"""OpenDRIVE import: CARLA's towns, our own generated files, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rsd_model.contracts import Command
from rsd_world.roads.lane_graph import LaneGraph
from rsd_world.roads.opendrive import OpenDriveError, read_opendrive
from rsd_world.roads.routes import town_routes
from rsd_world.roads.storage import check_lanes
from rsd_world.roads.town import Town
from rsd_world.roads.town_storage import read_town, save_town
from rsd_world.roads.towns import MAPS, load_town

CARLA_MAPS = Path(__file__).resolve().parents[3] / "shared" / "maps"
ROAD = (
    '<OpenDRIVE><road id="7" length="10.0"><planView><geometry/></planView>'
    "<lanes><laneSection/></lanes></road></OpenDRIVE>"
)
EXPECTED = {"Town01": (12, 6.0, 7.0), "Town03": (34, 12.0, 15.0)}  # junctions in the file, km of lanes


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def imported(request: pytest.FixtureRequest) -> Town:
    pytest.importorskip("carla", reason="the carla wheel is not installed (extra [opendrive])")
    pytest.importorskip("shapely", reason="shapely is not installed (extra [opendrive])")
    path = CARLA_MAPS / f"{request.param}.xodr"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    from rsd_world.roads.import_town import import_town

    return import_town(path, seed=1)


def test_carla_towns_import_with_all_their_junctions_and_lanes(imported: Town) -> None:
    junctions, least, most = EXPECTED[imported.name]
    assert len({lane.junction for lane in imported.lanes.lanes} - {-1}) == junctions
    assert least < sum(lane.length for lane in imported.lanes.lanes) / 1000.0 < most


def test_carla_towns_are_linked_without_gaps_and_in_driving_direction(imported: Town) -> None:
    lanes = imported.lanes.lanes
    check_lanes(lanes, imported.name)
    for lane in lanes:
        for to in lane.successors:
            assert np.linalg.norm(lanes[to].points[0] - lane.points[-1]) < 0.1
            turned = lanes[to].headings[0] - lane.headings[-1]
            assert abs((turned + np.pi) % (2.0 * np.pi) - np.pi) < 0.15
    assert sum(not lane.successors for lane in lanes) <= 2


def test_traffic_keeps_right_in_the_right_handed_map_frame(imported: Town) -> None:
    for lane in imported.lanes.lanes:
        if lane.opposite >= 0:
            middle = len(lane.points) // 2
            heading, here = lane.headings[middle], lane.points[middle, :2]
            other = imported.lanes.lanes[lane.opposite].points[:, :2]
            nearest = other[np.argmin(np.linalg.norm(other - here, axis=1))]
            assert np.array([-np.sin(heading), np.cos(heading)]) @ (nearest - here) > 0.0


def test_carla_towns_hold_routes_with_turns(imported: Town) -> None:
    routes = town_routes(imported, 10, seed=0)
    commands = {int(command) for route in routes for command in route.commands}
    assert {Command.LEFT, Command.RIGHT, Command.LANEFOLLOW} <= commands
    for route in routes:
        steps = np.diff(route.points[:, :2], axis=0)
        spacing = np.linalg.norm(steps, axis=1)
        assert spacing.min() > 0.85
        assert spacing.max() < 1.15
        headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
        assert np.abs(np.diff(headings)).max() < 0.35  # Town01's own right turns have a radius near 4 m


def test_a_file_without_signals_gets_lights_stop_signs_and_surroundings(imported: Town) -> None:
    assert imported.stop_signs
    assert imported.crossings
    assert imported.sidewalks
    assert len(imported.buildings) > 100
    assert bool(imported.lights) == (imported.name == "Town03")  # Town01 has T junctions only
    feet = np.array([prop.position[:2] for prop in imported.props])
    found = imported.lanes.nearest_many(feet, max_distance=np.inf)
    for lane, s, distance in zip(found.lanes, found.s, found.distances, strict=True):
        off_the_end = s == 0.0 or s == imported.lanes.length(lane)  # beyond a lane that ends at the rim of the map
        assert off_the_end or distance - imported.lanes.width_at(lane, s) / 2.0 > 0.3
    corners = np.array([building.center[:2] for building in imported.buildings])
    assert imported.lanes.nearest_many(corners, max_distance=np.inf).distances.min() > 4.0


def test_an_imported_town_loads_by_its_path(imported: Town, tmp_path: Path) -> None:
    save_town(imported, tmp_path / "town.npz")
    assert load_town(tmp_path / "town.npz").name == imported.name


@pytest.mark.parametrize("name", ["alder", "birch"])
def test_the_recipe_writes_the_very_files_that_are_shipped(name: str, tmp_path: Path) -> None:
    for package in ("carla", "shapely", "scenariogeneration"):
        pytest.importorskip(package, reason=f"{package} is not installed (extra [opendrive])")
    from rsd_world.roads.generate import generate

    generate(name, tmp_path)
    assert (tmp_path / f"{name}.xodr").read_text() == (MAPS / f"{name}.xodr").read_text()
    ours, shipped = read_town(tmp_path / f"{name}.npz"), load_town(name)
    assert same_lanes(ours.lanes, shipped.lanes)
    assert len(ours.buildings) == pytest.approx(len(shipped.buildings), rel=0.1)  # GEOS versions differ by a hair
    assert [light.lanes for light in ours.lights] == [light.lanes for light in shipped.lights]


def same_lanes(ours: LaneGraph, theirs: LaneGraph) -> bool:
    pairs = list(zip(ours.lanes, theirs.lanes, strict=True))
    return all(a.successors == b.successors and np.allclose(a.points, b.points, atol=1e-3) for a, b in pairs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<OpenDRIVE>", "not valid XML"),
        ("<svg/>", "root element is <svg>"),
        ("<OpenDRIVE/>", "holds no road"),
        (ROAD.replace("<geometry/>", ""), "road 7 has no geometry"),
        (ROAD.replace("<laneSection/>", ""), "road 7 has no lane section"),
        (ROAD.replace('id="7"', 'id="7" rule="LHT"'), "road 7 drives on the left"),
        (ROAD.replace("10.0", "ten"), "not a number: .*ten"),
    ],
)
def test_a_file_that_is_no_road_map_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.xodr"
    path.write_text(text)
    with pytest.raises(OpenDriveError, match=message) as error:
        read_opendrive(path)
    assert "wrong.xodr" in str(error.value)


def test_speed_limits_and_signals_are_read() -> None:
    source = read_opendrive(MAPS / "alder.xodr")
    assert {round(section.speed_limit * 3.6) for section in source.sections} == {30, 40, 50, 90}
    assert len([signal for signal in source.signals if signal.type == "206"]) == 12
