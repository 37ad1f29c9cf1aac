"""What a network has to see must be in the pictures, and the same again on a second run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from render_town import actor, busy_street, small_town, snapshot

from rsd_model.geometry import bench2drive_rig
from rsd_world.render.offscreen import lens_of
from rsd_world.render.weather import WEATHERS, look_of
from rsd_world.state import ActorKind, LightState


def reddish(picture: np.ndarray) -> int:
    r, g, b = (picture[..., i].astype(int) for i in range(3))
    return int(((r > 180) & (g < 110) & (b < 110)).sum())


def greenish(picture: np.ndarray) -> int:
    r, g, b = (picture[..., i].astype(int) for i in range(3))
    return int(((g > 180) & (r < 130) & (g > b + 20)).sum())


@pytest.mark.parametrize("weather", WEATHERS)
def test_a_red_lamp_is_red_and_a_green_one_green_thirty_metres_away(full_renderer, weather):
    there = {"x": -17.0, "y": -1.75, "weather": weather}
    pictures = {
        s: full_renderer.render(snapshot(light=s, **there)).rgb[0]
        for s in (LightState.RED, LightState.GREEN, LightState.OFF)
    }
    assert reddish(pictures[LightState.RED]) >= reddish(pictures[LightState.OFF]) + 8
    assert greenish(pictures[LightState.GREEN]) >= greenish(pictures[LightState.OFF]) + 8


def test_every_weather_looks_different(full_renderer):
    pictures = [full_renderer.render(snapshot(busy_street(), weather=w)).rgb.astype(int) for w in WEATHERS]
    for i, first in enumerate(pictures):
        for second in pictures[i + 1 :]:
            assert np.abs(first - second).mean() > 8.0


def test_an_unknown_weather_is_refused_with_the_names():
    with pytest.raises(ValueError, match="clear, overcast, rain, fog, dusk, night"):
        look_of("hail")


def test_an_unknown_output_is_refused_with_the_names():
    from rsd_world.render.renderer import Renderer

    with pytest.raises(ValueError, match="rgb, depth, instance"):
        Renderer(small_town(), bench2drive_rig(80, 48), ("flow",))


def test_the_same_snapshot_gives_the_same_pixels_in_any_order(full_renderer):
    wanted = snapshot(busy_street(), weather="rain", time=3.2)
    first = full_renderer.render(wanted)
    full_renderer.render(snapshot(busy_street()[:10], weather="night", time=9.0, x=20.0))
    second = full_renderer.render(wanted)
    assert (first.rgb == second.rgb).all()
    assert (first.instance == second.instance).all()
    assert (first.depth == second.depth).all()


def test_a_second_renderer_gives_the_same_pixels_as_the_first(gl):
    from rsd_world.render.renderer import Renderer

    frames = []
    for _ in range(2):
        with Renderer(small_town(), bench2drive_rig(160, 96)) as renderer:
            frames.append(renderer.render(snapshot(busy_street(), weather="dusk")).rgb)
    assert (frames[0] == frames[1]).all()


def test_rgb_alone_gives_the_same_picture_as_with_depth_and_instance(gl, full_renderer):
    from rsd_world.render.renderer import Renderer

    wanted = snapshot(busy_street())
    with Renderer(small_town(), full_renderer.rig) as renderer:
        plain = renderer.render(wanted)
    assert plain.depth is None
    assert plain.instance is None
    assert (plain.rgb == full_renderer.render(wanted).rgb).all()


def test_actors_that_leave_the_snapshot_leave_the_picture(full_renderer):
    empty = full_renderer.render(snapshot())
    full_renderer.render(snapshot(busy_street()))
    again = full_renderer.render(snapshot())
    assert (empty.rgb == again.rgb).all()


@pytest.mark.parametrize(
    ("change", "camera_x"),
    [({"braking": True}, -8.0), ({"blinker": 1}, -8.0), ({"blinker": -1}, -8.0), ({"door_open": 1.0}, -8.0)],
)
def test_what_a_vehicle_signals_is_visible_ten_metres_behind_it(full_renderer, change, camera_x):
    plain, changed = (
        full_renderer.render(snapshot([actor(1, ActorKind.CAR, 3.0, 0.0, **more)], x=camera_x, y=0.0, time=0.1))
        .rgb[0]
        .astype(int)
        for more in ({}, change)
    )
    assert (np.abs(plain - changed).max(axis=-1) > 40).sum() > 6


def test_walking_and_pedalling_move_the_limbs(full_renderer):
    for kind in (ActorKind.PEDESTRIAN, ActorKind.BICYCLE):
        shapes = [
            full_renderer.render(snapshot([actor(1, kind, 6.0, 0.0, 1.57, phase=p)], x=0.0, y=0.0)).instance[0] > 0
            for p in (0.0, 1.6)
        ]
        assert (shapes[0] != shapes[1]).sum() > 15


def test_the_ego_is_drawn_only_when_asked(gl):
    from rsd_world.render.renderer import Renderer

    rig = bench2drive_rig(160, 96)
    behind = rig.cam_to_base.copy()
    behind[0, :3, 3] = (-9.0, 0.0, 3.0)
    chase = type(rig)(rig.names[:1], rig.intrinsics[:1], behind[:1], rig.sizes[:1])
    pictures = []
    for shown in (False, True):
        with Renderer(small_town(), chase, draw_ego=shown) as renderer:
            pictures.append(renderer.render(snapshot()).rgb[0].astype(int))
    assert (np.abs(pictures[0] - pictures[1]).max(axis=-1) > 30).sum() > 200


def test_asphalt_beside_the_lanes_of_an_imported_town_is_no_grass(gl):
    from rsd_world.render.renderer import Renderer

    town = small_town()
    corners = np.array([[-100.0, -70.0, 0.0], [-20.0, -70.0, 0.0], [-20.0, 0.0, 0.0], [-100.0, 0.0, 0.0]])
    wide = replace(town, wide_asphalt=True, road_triangles=corners[[[0, 1, 2], [0, 2, 3]]])
    greenness = []
    for drawn in (town, wide):
        with Renderer(drawn, bench2drive_rig(160, 96)) as renderer:
            below = renderer.render(snapshot(x=-70.0, y=-50.0)).rgb[0, -20:].astype(int)
        greenness.append(float((below[..., 1] - below[..., 0]).mean()))
    assert greenness[0] > 15.0
    assert abs(greenness[1]) < 5.0


def test_a_lens_off_centre_keeps_its_principal_point():
    intrinsics = np.array([[300.0, 0.0, 190.0], [0.0, 280.0, 120.0], [0.0, 0.0, 1.0]])
    lens = lens_of(intrinsics, 400, 225)
    matrix = lens.get_projection_mat()
    clip = np.array([matrix.xform((1.0, 10.0, -2.0, 1.0))[i] for i in range(4)])
    u, v = (clip[0] / clip[3] + 1) * 200.0, (1 - clip[1] / clip[3]) * 112.5
    assert u == pytest.approx(190.0 + 300.0 * 0.1, abs=1e-3)
    assert v == pytest.approx(120.0 + 280.0 * 0.2, abs=1e-3)
