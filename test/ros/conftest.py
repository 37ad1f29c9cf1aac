"""Makes the support modules beside these tests importable; what they share."""

import os
import sys
from pathlib import Path

import pytest

from rsd_ros.compat.transport import transport_environment

sys.path.insert(0, str(Path(__file__).parent))
# Fast DDS reads its profile when this process first opens a graph: from then on images fit into shared memory.
os.environ.update(transport_environment())


@pytest.fixture(scope="session")
def gl_process() -> None:
    """Skips a test whose process could not draw here: no off-screen OpenGL."""
    from rsd_world.render.offscreen import GraphicsUnavailableError, open_pipe

    try:
        open_pipe()
    except GraphicsUnavailableError as problem:
        pytest.skip(str(problem))
