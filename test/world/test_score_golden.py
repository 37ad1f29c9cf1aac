"""Every number that Bench2Drive's public closed-loop tools gave for the recorded inputs must come out again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rsd_offline.cli import app
from rsd_offline.evaluation.closed_loop_metrics import closed_loop_figures
from rsd_offline.evaluation.closed_loop_metrics_check import compare
from rsd_offline.evaluation.records import read_results

SHARED = Path(__file__).parents[3] / "shared"
GOLDEN = SHARED / "golden" / "metrics" / "closed_loop.json"
pytestmark = pytest.mark.skipif(not GOLDEN.exists(), reason=f"recorded numbers are not at {GOLDEN}")


@pytest.fixture(scope="module")
def recorded():
    return read_results([GOLDEN])


def test_every_recorded_number_is_matched(recorded):
    rows = compare(recorded.expected, closed_loop_figures(recorded).published, tolerance=1e-8)
    assert len(rows) > 2900
    assert [row for row in rows if not row.passed] == []


def test_first_junctions_are_found_from_the_towns_opendrive_files(recorded):
    pytest.importorskip("carla", reason="the carla package (extra opendrive) is not installed")
    from rsd_offline.evaluation.closed_loop_metrics_junctions import junction_lookup

    look_up = junction_lookup(SHARED / "maps")
    routes = {route.id: route for route in recorded.routes}
    for number, junction in recorded.expected["traffic_sign_junctions"].items():
        assert look_up(routes[number]) == (junction["first_junction_count"], junction["route_len"])


def test_command_passes_on_the_recorded_file_and_fails_when_one_number_differs(tmp_path):
    runner = CliRunner()
    assert runner.invoke(app, ["eval", "closed-loop", str(GOLDEN)]).exit_code == 0
    bundle = json.loads(GOLDEN.read_text())
    bundle["expected"]["merge_route_json"]["driving score"] += 1e-3
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(bundle))
    outcome = runner.invoke(app, ["eval", "closed-loop", str(changed)])
    assert outcome.exit_code == 1
    assert "MISS" in outcome.output


def test_result_files_with_folders_give_the_same_figures_as_the_bundle(tmp_path, recorded):
    for name, content in recorded.result_files.items():
        (tmp_path / name).write_text(json.dumps(content))
    for name, info in recorded.metric_info.items():
        folder = tmp_path / "metrics" / name
        folder.mkdir(parents=True)
        (folder / "metric_info.json").write_text(json.dumps(info))
    (tmp_path / "routes.xml").write_text(json.loads(GOLDEN.read_text())["inputs"]["routes_xml"])
    loaded = read_results([tmp_path], tmp_path / "routes.xml", tmp_path / "metrics")
    figures = closed_loop_figures(loaded).published
    for group in (
        "merge_route_json",
        "scenario_counts",
        "efficiency_smoothness_benchmark",
        "statistics_manager_global",
    ):
        assert all(row.passed for row in compare(recorded.expected[group], figures[group])), group
