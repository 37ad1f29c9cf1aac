"""Our weight files: safetensors with the model configuration inside, so that a file says what it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rsd_model.config import ConfigError, ModelConfig
from rsd_model.network import Planner

CONFIG_KEY = "rsd_model_config"


class WeightsError(ValueError):
    """A weight file that cannot be used; the message names the file, what is wrong and the remedy."""


def save_weights(model: nn.Module, path: str | Path, extra_metadata: Mapping[str, str] | None = None) -> None:
    """Write the state of a Planner with its configuration (`model.config`); the file appears whole or not at all."""
    config = model.config
    if not isinstance(config, ModelConfig):
        raise TypeError(f"the model's config is a {type(config).__name__}, expected ModelConfig")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {**(extra_metadata or {}), CONFIG_KEY: json.dumps(config.to_dict())}
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    partial.touch()
    mode = partial.stat().st_mode
    save_file(state, partial, metadata=metadata)
    partial.chmod(mode)  # safetensors makes a file that its owner alone may read
    partial.replace(path)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of a weight file: CONFIG_KEY and what `save_weights` was given besides. Raises WeightsError."""
    return _read(Path(path), tensors=False)[0]


def load_weights(path: str | Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and state of a weight file.

    Raises WeightsError for a file that is missing, truncated, not safetensors, or holds no usable configuration.
    """
    path = Path(path)
    metadata, state = _read(path, tensors=True)
    if CONFIG_KEY not in metadata:
        raise WeightsError(
            f"{path}: holds no model configuration, so it is not one of our weight files. Convert a public checkpoint "
            "with `rsd import-weights`"
        )
    try:
        config = ModelConfig.from_dict(json.loads(metadata[CONFIG_KEY]), str(path))
    except (ConfigError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: its model configuration is not usable by this version: {error}") from None
    return config, state


def load_planner(path: str | Path, expected: ModelConfig | None = None) -> Planner:
    """The Planner of a weight file, in eval mode on the CPU.

    With `expected`, raises WeightsError when the file was made for another network (what only trains may differ).
    """
    config, state = load_weights(path)
    if expected is not None:
        differing = config_differences(config, expected)
        if differing:
            raise WeightsError(
                f"{path}: made for another configuration, {_shortened(differing)}. "
                f"Use weights of {expected.name!r}, or set the model to {config.name!r}"
            )
    model = Planner(config)
    load_into(model, state, str(path))
    return model.eval()


def average_weights(
    paths: Sequence[str | Path], out: str | Path, extra_metadata: Mapping[str, str] | None = None
) -> None:
    """Write the mean of several weight files of one network, of one training run that went on (arXiv 2203.05482).

    Raises WeightsError when they are of different networks.
    """
    first, *others = (load_planner(path) for path in paths)
    mean = {key: value.float() for key, value in first.state_dict().items() if value.is_floating_point()}
    for path, other in zip(paths[1:], others, strict=True):
        differing = config_differences(other.config, first.config)
        if differing:
            raise WeightsError(f"{path}: cannot be averaged with {paths[0]}, {_shortened(differing)}")
        for key, value in other.state_dict().items():
            if key in mean:
                mean[key] += value
    load_into(first, {**first.state_dict(), **{key: value / len(paths) for key, value in mean.items()}}, str(out))
    save_weights(first, out, extra_metadata)


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state that must fit exactly; raises WeightsError with what is missing, unknown or of another shape."""
    own = model.state_dict()
    problems = [f"missing {key}" for key in own.keys() - state.keys()]
    problems += [f"unknown {key}" for key in state.keys() - own.keys()]
    problems += [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    if problems:
        raise WeightsError(f"{source}: does not fit the network, {_shortened(sorted(problems))}")
    model.load_state_dict(state)


def _shortened(items: list[str], shown: int = 5) -> str:
    rest = len(items) - shown
    return "; ".join(items[:shown]) + (f"; and {rest} more" if rest > 0 else "")


def config_differences(a: ModelConfig, b: ModelConfig) -> list[str]:
    """Where two configurations describe different networks, as 'key is a, expected b'; what only trains aside."""
    return _differences(_network_part(a), _network_part(b), "")


def _network_part(config: ModelConfig) -> dict[str, object]:
    return {k: v for k, v in config.to_dict().items() if k not in ("name", "loss", "language_head")}


def _differences(a: object, b: object, key: str) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        prefix = f"{key}." if key else ""
        return [d for k in {**a, **b} for d in _differences(a.get(k), b.get(k), prefix + k)]
    same = a == b or (isinstance(a, list | tuple) and isinstance(b, list | tuple) and list(a) == list(b))
    return [] if same else [f"{key} is {a}, expected {b}"]


def _read(path: Path, tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file")
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()} if tensors else {}  # noqa: SIM118
            return file.metadata() or {}, state
    except (SafetensorError, OSError, ValueError) as error:
        size = path.stat().st_size
        raise WeightsError(
            f"{path}: not a whole safetensors file ({size} bytes; {error}). It was truncated or is of another kind: "
            "copy it again, or convert a public checkpoint with `rsd import-weights`"
        ) from None
