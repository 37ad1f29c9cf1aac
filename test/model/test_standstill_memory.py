"""What the planner remembers of its last standstill."""

from dataclasses import replace

import numpy as np
import pytest

from rsd_model.config import ConfigError, EgoConfig, load_model_config
from rsd_model.contracts import EgoState
from rsd_model.geometry import pose_matrix
from rsd_model.inputs import StandstillMemory, ego_status


def ego(stamp: float, x: float, speed: float) -> EgoState:
    return EgoState(stamp, pose_matrix(np.array([x, 0.0, 0.0]), 0.0), np.array([speed, 0.0, 0.0]), np.zeros(3), 0.0)


def test_metres_are_counted_from_the_last_standstill():
    memory = StandstillMemory()
    assert memory.update(ego(0.0, 0.0, 5.0)) == np.inf
    assert memory.update(ego(1.0, 5.0, 5.0)) == np.inf
    assert memory.update(ego(2.0, 7.0, 0.05)) == 0.0
    assert memory.update(ego(3.0, 8.5, 2.0)) == pytest.approx(1.5)
    assert memory.update(ego(4.0, 11.0, 3.0)) == pytest.approx(4.0)
    assert memory.update(ego(5.0, 12.0, 0.0)) == 0.0


def test_a_stamp_in_the_past_forgets_the_standstill():
    memory = StandstillMemory()
    memory.update(ego(9.0, 0.0, 0.0))
    assert memory.update(ego(1.0, 0.0, 4.0)) == np.inf


def test_status_holds_what_the_configuration_names_in_its_order():
    nano = load_model_config("nano")
    config = replace(nano, ego=replace(nano.ego, status=("standstill", "speed", "known")))
    np.testing.assert_allclose(ego_status(ego(0.0, 0.0, 5.0), 0.0, config), [1.0, 0.5, 1.0])
    np.testing.assert_allclose(ego_status(ego(0.0, 0.0, 5.0), np.inf, config), [0.0, 0.5, 1.0])
    np.testing.assert_allclose(ego_status(ego(0.0, 0.0, 0.0), 10.0, config), [np.exp(-1.0), 0.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("status", [("mood",), ("speed", "speed")])
def test_a_status_that_is_not_known_or_told_twice_is_refused(status):
    with pytest.raises(ConfigError, match=r"ego\.status"):
        EgoConfig(status=status)
