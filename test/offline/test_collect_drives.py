import json
from dataclasses import replace

import numpy as np
import pytest

from rsd_model.config_reader import ConfigError
from rsd_model.contracts import VehicleControl
from rsd_offline.datasets.collect import CollectConfig, EpisodeCollector, Perturbation, plan_episodes
from rsd_offline.datasets.episode_store import Episode, decode_image, find_episodes
from rsd_offline.evaluation.drive import (
    DriveConfig,
    Driver,
    ReportError,
    driven_before,
    evaluation_episodes,
    result_row,
    write_report,
)
from rsd_offline.labeling.store import read_judged, read_risks
from rsd_world.render.offscreen import GraphicsUnavailableError

SHORT = CollectConfig(
    episodes=3, seed=5, max_seconds=1.6, scenarios=("PedestrianCrossing",), weathers=("clear", "rain")
)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    out = tmp_path_factory.mktemp("collected")
    plan = plan_episodes(SHORT, "expert")[0]
    try:
        EpisodeCollector(SHORT, out).collect(plan)
    except GraphicsUnavailableError as error:
        pytest.skip(f"no rendering here: {error}")
    return out, plan


def test_a_drive_is_recorded_every_half_second_with_the_experts_plan(collected):
    out, plan = collected
    assert find_episodes(out) == [out / plan.name]
    episode = Episode(out / plan.name)
    frames = [episode.frame(i) for i in range(len(episode))]
    np.testing.assert_allclose(np.diff([f.stamp for f in frames]), 0.5, atol=1e-6)
    assert frames[0].plan.shape == (6, 2)
    assert decode_image(frames[0].images[5]).shape == (225, 400, 3)
    assert frames[0].pixels.max() > 0


def test_the_privileged_teacher_judges_every_recorded_frame(collected):
    out, plan = collected
    count = len(Episode(out / plan.name))
    assert read_judged(out / "labels") == {f"{plan.name}/{i:05d}": "all" for i in range(count)}
    risks = read_risks(out / "labels")
    ids = set(Episode(out / plan.name).frame(0, with_images=False).ids.tolist())
    assert set(risks[f"{plan.name}/00000"]) <= ids


def test_plans_are_a_function_of_the_configuration(collected):
    assert plan_episodes(SHORT, "a") == plan_episodes(SHORT, "a")
    assert len({p.episode for p in plan_episodes(SHORT, "a")}) == SHORT.episodes


def test_traffic_is_as_dense_as_asked():
    dense = replace(SHORT, episodes=20, vehicles=(0, 2), pedestrians=(50, 60))
    episodes = [p.episode for p in plan_episodes(dense, "dense")]
    assert {e.vehicles for e in episodes} == {0, 1, 2}
    assert all(50 <= e.pedestrians <= 60 for e in episodes)
    with pytest.raises(ConfigError, match=r"pedestrians: \[9, 3\]"):
        replace(SHORT, pedestrians=(9, 3))


def test_a_perturbation_pushes_now_and_then_and_never_accelerates_a_braking_expert():
    perturb = Perturbation(np.random.default_rng(0), per_minute=30.0, dt=0.1)
    controls = [perturb(VehicleControl(brake=0.5)) for _ in range(600)]
    pushed = [c.steer != 0.0 for c in controls]
    assert 0.1 < np.mean(pushed) < 0.9
    assert all(c.throttle == 0.0 for c in controls)


def test_a_drive_is_scored_and_its_row_is_plain_json():
    episode = evaluation_episodes("birch", 1, 3, [], ["clear"])[0]
    result = Driver(DriveConfig(policy="expert", max_seconds=3.0)).drive(episode)
    row = json.loads(json.dumps(result_row(result)))
    assert row["town"] == "birch"
    assert 0.0 <= row["driving_score"] <= 100.0


def test_drives_of_a_report_are_not_driven_again_unless_another_driver_made_them(tmp_path):
    episodes = evaluation_episodes("birch", 2, 3, [], ["clear"])
    config = DriveConfig(policy="constant", max_seconds=2.0)
    result = Driver(config).drive(episodes[1])
    path = tmp_path / "report.json"
    assert driven_before(path, config, episodes) == []
    write_report(path, config, [result], {})
    kept = driven_before(path, config, episodes)
    assert [k.episode for k in kept] == [episodes[1]]
    assert kept[0].score == result.score
    assert driven_before(path, config, episodes[:1]) == []
    with pytest.raises(ReportError, match="max_seconds"):
        driven_before(path, DriveConfig(policy="constant", max_seconds=9.0), episodes)
    path.write_text("{")
    with pytest.raises(ReportError, match="choose another --out"):
        driven_before(path, config, episodes)


def test_a_student_without_weights_is_refused():
    with pytest.raises(ValueError, match="needs weights"):
        DriveConfig(policy="student")
