"""Public checkpoints in and out: VAD, BEVFormer and torchvision's ResNet, key by key."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_model.checkpoints.vad import Table, bevformer_table, rename, reverse, torchvision_table, vad_table
from rsd_model.checkpoints.weights import WeightsError
from rsd_model.config import ModelConfig
from rsd_model.network import Planner

TABLES: dict[str, Callable[[ModelConfig], Table]] = {
    "vad": vad_table,
    "bevformer": bevformer_table,
    "torchvision": torchvision_table,
}
DEFORMABLE_HINT = (
    " Its backbone is deformable: backbone.deformable_stages, as the configuration bevformer_base has them."
)
WHOLE = ("vad",)  # sources that give every parameter; the others give a part of the network


@dataclass(frozen=True)
class Mapped:
    """A checkpoint under our names, and what has no counterpart."""

    state: dict[str, Tensor]
    unknown: list[str]  # entries of parts that the network has but without these, under the checkpoint's names
    unused: list[str]  # entries of parts that are not taken from this source (classifier, other heads)
    missing: list[str]  # entries that the source should give and the checkpoint lacks, under our names
    misfits: list[str]  # entries of another shape: "key: shape, expected shape"

    def describe(self) -> str:
        """Every leftover of both sides, one a line."""
        lines = [f"{len(self.state)} entries mapped"]
        for title, names in (
            ("in the checkpoint, not in the network", self.unknown),
            ("in the checkpoint, of parts not taken from it", self.unused),
            ("in the network, not in the checkpoint", self.missing),
            ("of another shape", self.misfits),
        ):
            lines.append(f"{len(names)} {title}")
            lines += [f"  {name}" for name in names]
        return "\n".join(lines)


def read_public_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .pth checkpoint by name, without a `module.` prefix; pickled code is never run.

    Takes mmcv's {"state_dict": ...}, {"model": ...} or a bare state dict. Raises WeightsError.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint")
    try:
        with torch.serialization.safe_globals(_numpy_types()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds objects besides tensors, which are not loaded for safety ({str(error).splitlines()[0]}). "
            "Save its state dict alone: torch.save({'state_dict': checkpoint['state_dict']}, ...)"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: not a readable torch checkpoint, or truncated: {error}") from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, expected a state dict")
    tensors = {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors")
    return tensors


def _numpy_types() -> list[Any]:
    """What numbers and arrays of numpy pickle to: mmcv writes some into `meta` and the optimiser's state."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    dtypes = {type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "u1", "bool")}
    named = [(scalar, "numpy.core.multiarray.scalar"), (array, "numpy.core.multiarray._reconstruct")]
    return [*named, scalar, array, np.dtype, np.ndarray, *dtypes]


def map_public_state(state: Mapping[str, Tensor], config: ModelConfig, source: str) -> Mapped:
    """Translate a public state dict to our names and check it against the network's shapes."""
    if source not in TABLES:
        raise WeightsError(f"source {source!r}: allowed are {', '.join(TABLES)}")
    table = TABLES[source](config)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Planner(config).state_dict().items()}
    expected = {key for key in shapes if rename(key, table) is not None}
    back = reverse(table)
    found, unknown, unused, misfits = {}, [], [], []
    for theirs, value in state.items():
        ours = rename(theirs, back)
        if ours is None and source not in WHOLE:
            unused.append(theirs)
        elif ours not in shapes:
            unknown.append(theirs)
        elif shapes[ours] != value.shape:
            misfits.append(f"{theirs}: {tuple(value.shape)}, expected {tuple(shapes[ours])}")
            expected.discard(ours)
        else:
            found[ours] = value
    # A counter that nothing reads; files from before torch 0.4.1 (torchvision's first ResNets) do not have it.
    missing = {key for key in expected - found.keys() if not key.endswith("num_batches_tracked")}
    return Mapped(found, sorted(unknown), sorted(unused), sorted(missing), sorted(misfits))


def import_public(
    path: str | Path, config: ModelConfig, source: str, allow_partial: bool = False, seed: int = 0
) -> tuple[Planner, Mapped]:
    """A Planner with the weights of a public checkpoint; what the source does not give is initialised from `seed`.

    Refuses, with WeightsError, a checkpoint that lacks entries its source should give, has some of another shape or
    holds some that the network lacks (a deeper backbone), unless `allow_partial`.
    """
    mapped = map_public_state(read_public_checkpoint(path), config, source)
    if (mapped.missing or mapped.misfits or mapped.unknown) and not allow_partial:
        raise WeightsError(
            f"{path}: does not fit {config.name!r} as {source}; --allow-partial takes what fits."
            f"{DEFORMABLE_HINT if any('.conv_offset.' in key for key in mapped.unknown) else ''}\n{mapped.describe()}"
        )
    if not mapped.state:
        raise WeightsError(f"{path}: not one entry fits {config.name!r} as {source}")
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = Planner(config)
    torch.random.set_rng_state(generator_state)
    model.load_state_dict(mapped.state, strict=False)
    return model.eval(), mapped


def to_public_state(
    state: Mapping[str, Tensor], config: ModelConfig, target: str = "vad"
) -> tuple[dict[str, Tensor], list[str]]:
    """Our state under public names, and the entries of ours that have no public name (RiskHead, route context)."""
    if target not in TABLES:
        raise WeightsError(f"target {target!r}: allowed are {', '.join(TABLES)}")
    table = TABLES[target](config)
    named = {key: rename(key, table) for key in state}
    return {name: state[key] for key, name in named.items() if name}, sorted(k for k, name in named.items() if not name)


def export_public(state: Mapping[str, Tensor], config: ModelConfig, path: str | Path, target: str = "vad") -> list[str]:
    """Write an mmcv-style checkpoint {"state_dict", "meta"}; returns the entries that have no public name."""
    public, dropped = to_public_state(state, config, target)
    torch.save({"state_dict": public, "meta": {"exported_from": f"rsd {config.name}"}}, Path(path))
    return dropped
