"""`rsd import-weights` and `rsd export-weights`: public checkpoints in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_weights(
    checkpoint: Annotated[
        Path, typer.Argument(help="mmcv-style .pth of VAD or BEVFormer, or torchvision's ResNet-50.")
    ],
    out: Annotated[Path, typer.Argument(help="Weight file to write, .safetensors.")],
    source: Annotated[str, typer.Option("--from", help="vad, bevformer or torchvision.")] = "vad",
    model: Annotated[str, typer.Option(help="base, tiny, nano, bevformer_base or a YAML file.")] = "base",
    allow_partial: Annotated[bool, typer.Option(help="Take what fits and initialise the rest.")] = False,
) -> None:
    """Convert a public checkpoint to our weight file, key by key; leftovers on either side are listed.

    vad fills the whole network, bevformer the backbone, the pyramid and the BEV encoder, torchvision the backbone; the
    rest is freshly initialised and listed in the file's metadata.
    """
    from rsd_model.checkpoints.public import import_public
    from rsd_model.checkpoints.weights import WeightsError, save_weights
    from rsd_model.config import ConfigError, load_model_config

    try:
        planner, mapped = import_public(checkpoint, load_model_config(model), source, allow_partial)
    except (WeightsError, ConfigError) as error:
        typer.secho(f"import-weights: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    fresh = sorted(planner.state_dict().keys() - mapped.state.keys())
    about = {"source": source, "checkpoint": checkpoint.name, "initialised": ",".join(fresh)}
    save_weights(planner, out, about)
    typer.echo(mapped.describe())
    typer.echo(f"{len(fresh)} entries freshly initialised\n-> {out}")


def export_weights(
    weights: Annotated[Path, typer.Argument(help="Our weight file, .safetensors.")],
    out: Annotated[Path, typer.Argument(help="Checkpoint to write, .pth.")],
    to: Annotated[str, typer.Option(help="Names to use: vad, bevformer or torchvision.")] = "vad",
) -> None:
    """Write our weights as a public checkpoint; a round trip gives back the same bits."""
    from rsd_model.checkpoints.public import export_public
    from rsd_model.checkpoints.weights import WeightsError, load_weights

    try:
        config, state = load_weights(weights)
        dropped = export_public(state, config, out, to)
    except WeightsError as error:
        typer.secho(f"export-weights: {error}", fg="red", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{len(state) - len(dropped)} entries -> {out}")
    if dropped:
        typer.echo(f"{len(dropped)} entries have no name in {to}:\n  " + "\n  ".join(dropped))
