"""Conflicts staged on the ego's route, named as in Bench2Drive."""

from rsd_world.scenarios.catalogue import ScenarioInfo, scenario_catalogue

__all__ = ["ScenarioInfo", "scenario_catalogue"]
