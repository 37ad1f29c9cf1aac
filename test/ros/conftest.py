"""Makes the support modules beside these tests importable; what they share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def gl_process() -> None:
    """Skips a test whose process could not draw here: no off-screen OpenGL."""
    from rsd_world.render.offscreen import GraphicsUnavailableError, open_pipe

    try:
        open_pipe()
    except GraphicsUnavailableError as problem:
        pytest.skip(str(problem))
