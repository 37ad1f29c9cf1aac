"""Lets the tests of the world import their stages from this folder, and shares one renderer between tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def gl() -> None:
    """Skips a test where no off-screen OpenGL answers."""
    from rsd_world.render.offscreen import GraphicsUnavailableError, open_pipe

    try:
        open_pipe()
    except GraphicsUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def full_renderer(gl: None) -> Iterator[object]:
    """A renderer of the small town with all outputs, six cameras at 400x225."""
    from render_town import small_town

    from rsd_model.geometry import bench2drive_rig
    from rsd_world.render.renderer import Renderer

    with Renderer(small_town(), bench2drive_rig(400, 225), ("rgb", "depth", "instance")) as renderer:
        yield renderer
