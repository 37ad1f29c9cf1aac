"""The `rsd` command: everything that happens off the car."""

from __future__ import annotations

import typer

from rsd_offline.commands.bench import bench_model_command
from rsd_offline.commands.drive import drive
from rsd_offline.commands.import_map import import_map
from rsd_offline.commands.label import label
from rsd_offline.commands.labels import labels_app
from rsd_offline.commands.open_loop import open_loop
from rsd_offline.commands.parity import parity
from rsd_offline.commands.record_clips import record_clips
from rsd_offline.commands.train import train
from rsd_offline.commands.weights import export_weights, import_weights
from rsd_offline.evaluation.closed_loop_metrics_command import closed_loop

app = typer.Typer(
    name="rsd",
    help="Label, train, evaluate and check RSD planners. Nothing here runs on the car.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
eval_app = typer.Typer(help="Score drives, plans and detections.", no_args_is_help=True)
app.add_typer(eval_app, name="eval")
bench_app = typer.Typer(help="Measure what the network costs.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
bench_app.command("model")(bench_model_command)
eval_app.command("closed-loop")(closed_loop)
eval_app.command("drive")(drive)
eval_app.command("open-loop")(open_loop)
app.command("train")(train)
app.command("label")(label)
app.add_typer(labels_app, name="labels")
app.command("record-clips")(record_clips)
app.command("import-map")(import_map)
app.command("parity")(parity)
app.command("import-weights")(import_weights)
app.command("export-weights")(export_weights)

# A command's module imports what is heavy inside its function, so that `rsd --help` stays quick.


if __name__ == "__main__":
    app()
