"""The network that the planner node's parameters name, loaded, checked and warmed up."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from rsd_model.checkpoints.weights import CONFIG_KEY, WeightsError, config_differences, read_metadata
from rsd_model.config import ModelConfig, load_model_config
from rsd_model.geometry import bench2drive_rig
from rsd_model.inference import PlannerRuntime
from rsd_model.resources import config_path

RANDOM = "random"
SHIPPED = "nano"


def load_runtime(settings: SimpleNamespace) -> PlannerRuntime:
    """The network of the parameters weights, config, device, precision and cameras.

    Raises WeightsError, ConfigError, InferenceError or ValueError, each with a remedy.
    """
    weights = None if settings.weights == RANDOM else weights_path(settings)
    if weights is not None and settings.config:
        check_config(weights, settings.config)
    runtime = PlannerRuntime(weights, settings.config or SHIPPED, settings.device, settings.precision)
    if runtime.config.cameras != len(settings.cameras):
        raise ValueError(
            f"parameter cameras has {len(settings.cameras)} names, the network takes {runtime.config.cameras} cameras; "
            "name them in the order of its training"
        )
    runtime.warm_up(bench2drive_rig())
    return runtime


def weights_path(settings: SimpleNamespace) -> Path:
    """The file that the parameter `weights` names, else what ships for the parameter `config`; raises WeightsError."""
    if settings.weights:
        return Path(settings.weights).expanduser()
    name = settings.config or SHIPPED
    try:
        return config_path(f"weights/{name}.safetensors")
    except FileNotFoundError as problem:
        raise WeightsError(f"no weights ship for config '{name}'; set the parameter weights to a file") from problem


def check_config(weights: Path, name: str) -> None:
    """Raises WeightsError where the file was made for another network than the configuration `name`."""
    text = read_metadata(weights).get(CONFIG_KEY)
    if text is None:
        return  # loading will say what kind of file it is
    found, expected = ModelConfig.from_dict(json.loads(text), str(weights)), load_model_config(name)
    differing = config_differences(found, expected)
    if differing:
        raise WeightsError(
            f"{weights}: made for another configuration than '{name}' ({'; '.join(differing[:3])}); "
            f"set the parameter config to '{found.name}' or leave it empty, or give weights of '{name}'"
        )
