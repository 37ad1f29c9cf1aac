"""`rsd train`: a training run from its YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="run configuration: config/train/nano_world.yaml", exists=True)],
    out: Annotated[Path | None, typer.Option(help="folder of the run; default runs/<name>")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Collect drives, imitate the expert, correct by DAgger. The same call after a kill goes on where it was."""
    from rsd_model.checkpoints.weights import WeightsError
    from rsd_offline.labeling.store import LabelStoreError
    from rsd_offline.training.config import ConfigError, load_train_config
    from rsd_offline.training.run import TrainingRun
    from rsd_offline.training.trainer import TrainingError, pick_device

    try:
        settings = load_train_config(config)
        run = TrainingRun(settings, out or Path("runs") / settings.name, pick_device(device))
        weights = run.run()
    except (ConfigError, LabelStoreError, TrainingError, WeightsError) as error:
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"weights: {weights}")
