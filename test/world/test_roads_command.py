"""`rsd import-map` and the picture of a town."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rsd_offline.cli import app
from rsd_world.roads.plot import plot_town
from rsd_world.roads.routes import town_routes
from rsd_world.roads.towns import MAPS, load_town


def test_import_map_writes_a_town_that_loads_and_a_picture(tmp_path: Path) -> None:
    for package in ("carla", "shapely"):
        pytest.importorskip(package, reason=f"{package} is not installed (extra [opendrive])")
    out, picture = tmp_path / "town.npz", tmp_path / "town.png"
    result = CliRunner().invoke(
        app, ["import-map", str(MAPS / "alder.xodr"), "--out", str(out), "--picture", str(picture)]
    )
    assert result.exit_code == 0, result.output
    assert "174 lanes" in result.output
    assert len(load_town(out).lanes.lanes) == 174
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "text"), [("gone.xodr", None), ("picture.xodr", "<svg/>")])
def test_import_map_names_a_file_that_it_cannot_use_and_fails(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    result = CliRunner().invoke(app, ["import-map", str(tmp_path / name)])
    assert result.exit_code == 1
    assert name in result.output
    assert not (tmp_path / name).with_suffix(".npz").exists()


def test_a_picture_shows_a_town_with_a_route(tmp_path: Path) -> None:
    town = load_town("birch")
    plot_town(town, tmp_path / "birch.png", town_routes(town, 1, seed=0)[0], size=4.0)
    assert (tmp_path / "birch.png").stat().st_size > 20_000
