"""Makes the support modules beside these tests importable; what they share."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rsd_ros.compat.transport import transport_environment

sys.path.insert(0, str(Path(__file__).parent))
# Fast DDS reads its profile when this process first opens a graph: from then on images fit into shared memory.
os.environ.update(transport_environment())


@pytest.fixture
def left_running(ros_domain: int) -> Callable[[str], list[str]]:
    """`left_running(word)`: command lines that hold this word, of what still runs in the test's ROS domain."""

    def find(word: str) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                settings = (process / "environ").read_bytes().split(b"\0")
            except OSError:  # ended meanwhile, or another user's
                continue
            if word in command and f"ROS_DOMAIN_ID={ros_domain}".encode() in settings:
                found.append(command)
        return found

    return find


@pytest.fixture
def nodes(ros_context: object) -> Iterator[list]:
    """Two nodes of one graph, `ours` and `theirs`."""
    import rclpy

    made = [rclpy.create_node(name, context=ros_context) for name in ("ours", "theirs")]
    yield made
    for node in made:
        node.destroy_node()


@pytest.fixture(scope="session")
def gl_process() -> None:
    """Skips a test whose process could not draw here: no off-screen OpenGL."""
    from rsd_world.render.offscreen import GraphicsUnavailableError, open_pipe

    try:
        open_pipe()
    except GraphicsUnavailableError as problem:
        pytest.skip(str(problem))
