"""What happens where OpenGL is missing, forked, or closed, and on the real towns."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from panda3d import core
from render_town import busy_street, small_town, snapshot

from rsd_model.contracts import VehicleControl
from rsd_model.geometry import bench2drive_rig
from rsd_world.render import offscreen
from rsd_world.render.renderer import Renderer
from rsd_world.roads.towns import load_town
from rsd_world.state import ActorKind
from rsd_world.world import Episode, World

SMALL = bench2drive_rig(160, 96)


def test_missing_gl_is_told_with_the_command_that_installs_it(monkeypatch):
    nothing = SimpleNamespace(make_module_pipe=lambda name: None)
    selection = SimpleNamespace(get_global_ptr=lambda: nothing)
    stand_in = SimpleNamespace(load_prc_file_data=lambda *_: None, GraphicsPipeSelection=selection)
    monkeypatch.setattr(offscreen, "core", stand_in)
    with pytest.raises(offscreen.GraphicsUnavailableError, match="apt-get install -y libgl1 libegl1 libgl1-mesa-dri"):
        offscreen.open_pipe.__wrapped__()


def test_cameras_of_several_sizes_are_refused(gl):
    sizes = SMALL.sizes.copy()
    sizes[2] = (320, 192)
    mixed = type(SMALL)(SMALL.names, SMALL.intrinsics, SMALL.cam_to_base, sizes)
    with pytest.raises(ValueError, match="one size"):
        Renderer(small_town(), mixed)


def test_a_closed_renderer_says_so(gl):
    renderer = Renderer(small_town(), SMALL)
    renderer.close()
    renderer.close()
    with pytest.raises(RuntimeError, match="closed"):
        renderer.render(snapshot())


def _in_fork(queue) -> None:
    try:
        Renderer(small_town(), SMALL)
        queue.put("drew")
    except offscreen.GraphicsUnavailableError as error:
        queue.put(str(error))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_gets_an_error_instead_of_hanging(gl):
    Renderer(small_town(), SMALL).close()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_fork, args=(queue,))
    child.start()
    said = queue.get(timeout=30)
    child.join(10)
    assert "spawn" in said


def test_renderers_side_by_side_do_not_disturb_each_other(gl):
    wanted = snapshot(busy_street(), weather="overcast")
    with Renderer(small_town(), SMALL) as first, Renderer(small_town(), bench2drive_rig(96, 64), ("depth",)) as second:
        before = first.render(wanted).rgb
        second.render(snapshot(weather="night"))
        assert (first.render(wanted).rgb == before).all()


def test_another_process_draws_the_same_pixels(gl):
    script = (
        "from render_town import *\n"
        "from rsd_model.geometry import bench2drive_rig\n"
        "from rsd_world.render.renderer import Renderer\n"
        "import hashlib\n"
        "r = Renderer(small_town(), bench2drive_rig(160, 96))\n"
        "print(hashlib.sha256(r.render(snapshot(busy_street(), weather='rain', time=1.0)).rgb).hexdigest())\n"
    )
    here = Path(__file__).parent
    paths = {"PYTHONPATH": f"{here}:{here.parents[1]}"}
    prints = [
        subprocess.run([sys.executable, "-c", script], env=paths, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert len(prints[0]) > 60
    assert prints[0] == prints[1]


@pytest.mark.parametrize("name", ["alder", "birch"])
def test_a_town_with_its_traffic_is_drawn_with_actors_in_sight(gl, name):
    world = World(Episode(town=name, vehicles=40, pedestrians=20))
    with Renderer(load_town(name), SMALL, ("rgb", "depth", "instance")) as renderer:
        frame = renderer.render(world.snapshot)
    known = {actor.id for actor in world.snapshot.actors} | {0}
    assert len(world.snapshot.actors) >= 40
    assert set(np.unique(frame.instance)) <= known
    assert frame.rgb.reshape(6, -1).std(axis=1).min() > 15
    assert np.isfinite(frame.depth).mean() > 0.5


def test_every_kind_of_actor_has_a_mesh():
    from rsd_world.render.moving import MESHES

    assert set(MESHES) == set(ActorKind)


def test_states_of_frames_gone_by_are_not_kept(gl):
    def states_after(frames: int) -> int:
        for _ in range(frames):
            renderer.render(world.snapshot)
            world.step(VehicleControl(throttle=0.4))
        return core.TransformState.get_num_states() + core.RenderState.get_num_states()

    world = World(Episode(town="alder", vehicles=40, pedestrians=20))
    with Renderer(world.town, bench2drive_rig(32, 18)) as renderer:
        early = states_after(20)
        assert states_after(60) < 1.5 * early


def test_triton_can_be_loaded_after_the_pipe_is_open(gl):
    pytest.importorskip("triton", reason="package triton (extra `triton`) is not installed")
    script = (
        "from rsd_world.render.offscreen import open_pipe; from rsd_world.render.renderer import Renderer\n"
        "from rsd_world.roads.towns import load_town; from rsd_model.geometry import bench2drive_rig\n"
        "Renderer(load_town('alder'), bench2drive_rig(64, 36)); import torch._dynamo"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
