"""A training run from its YAML: collect, imitate, then correct the student where it drives (DAgger), round by round."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rsd_model.checkpoints.weights import average_weights
from rsd_model.config import ModelConfig, load_model_config
from rsd_model.heads.language import language_head_config
from rsd_model.network import risk_head_config
from rsd_offline.datasets.collect import CollectConfig, collect, plan_episodes
from rsd_offline.datasets.episode_store import find_episodes
from rsd_offline.labeling.store import read_judged, read_risks
from rsd_offline.training.batches import StepBatches
from rsd_offline.training.config import RoundConfig, TrainConfig
from rsd_offline.training.language_answers import LanguageAnswers
from rsd_offline.training.trainer import Trainer, TrainingError

LOG_EVERY = 100  # steps between lines where the output is no terminal and a bar cannot move

console = Console()


def progress_bar() -> Progress:
    """Bar with count, elapsed and remaining time and a free text."""
    return Progress(
        TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=console,
    )  # fmt: skip


class TrainingRun:
    """All rounds of one run in one folder; started again after a kill it goes on where it was."""

    def __init__(self, config: TrainConfig, out: Path, device: torch.device) -> None:
        self.config, self.out = config, out
        self.model: ModelConfig = load_model_config(config.model)
        out.mkdir(parents=True, exist_ok=True)
        self.trainer = Trainer(self.model, config, out, device)
        if not self.trainer.resume() and config.init_weights:
            self.trainer.start_from(Path(config.init_weights))

    def run(self) -> Path:
        """Do what is missing; returns the path of the final weights."""
        self._collect("validation", self.config.validation)
        last_step = 0
        for number, stage in enumerate(self.config.rounds):
            last_step += stage.steps
            if stage.collect is not None:
                self._collect(stage.name, self._with_driver(stage, number))
            trains = self.trainer.step < last_step
            if trains:
                self._train(number, last_step)
            if trains or not self.weights(stage).exists():  # a round that was made longer has weights from before
                self._export(stage)
        return self.weights(self.config.rounds[-1])

    def _export(self, stage: RoundConfig) -> None:
        path, about = self.weights(stage), {"run": self.config.name, "round": stage.name}
        if not stage.average_with:
            self.trainer.export(path, about)
            return
        alone = path.with_stem(f"{stage.name}_alone")
        self.trainer.export(alone, about)
        earlier = next(r for r in self.config.rounds if r.name == stage.average_with)
        average_weights([self.weights(earlier), alone], path, {**about, "average_with": earlier.name})

    def weights(self, stage: RoundConfig) -> Path:
        """Where the weights at the end of a round are written."""
        return self.out / "weights" / f"{stage.name}.safetensors"

    def _with_driver(self, stage: RoundConfig, number: int) -> CollectConfig:
        assert stage.collect is not None
        if not stage.student_drives:
            return stage.collect
        return replace(stage.collect, student_weights=str(self.weights(self.config.rounds[number - 1])))

    def _collect(self, name: str, config: CollectConfig) -> None:
        folder = self.out / "data" / name
        done = sum((folder / p.name / "episode.json").exists() for p in plan_episodes(config, name))
        if done == config.episodes:
            return
        frames = 0
        with progress_bar() as progress:
            task = progress.add_task(f"collect {name}", total=config.episodes, completed=done, text="")
            for summary in collect(config, folder, name, self.config.collect_workers):
                frames += summary["frames"]
                progress.update(task, advance=1, text=f"{frames} frames, last {summary['outcome']}")
                if not console.is_terminal:
                    console.print(f"collect {name}: {summary['name']}, {frames} frames so far, {summary['outcome']}")

    def _batches(self, names: list[str], seed: int, config: TrainConfig) -> StepBatches:
        folders = [self.out / "data" / name for name in names]
        risks, judged = {}, {}
        stores = [Path(self.config.labels)] if self.config.labels else [f / "labels" for f in folders]
        for store in stores:
            risks.update(read_risks(store))
            judged.update(read_judged(store))
        risk_head = risk_head_config(self.model)
        groups, language = [find_episodes(f) for f in folders], self._language(stores)
        return StepBatches(groups, self.model, config, risk_head, risks, judged, seed, language)

    def _language(self, stores: list[Path]) -> LanguageAnswers | None:
        """The teacher's answers where the model has language heads. Raises TrainingError where there are none."""
        heads = language_head_config(self.model)
        if heads is None:
            return None
        answers = LanguageAnswers(stores, heads)
        if not len(answers):
            looked_in = ", ".join(map(str, stores))
            raise TrainingError(
                f"{self.config.model} has language heads, but no actions or reasons are in {looked_in}: label with "
                "`rsd label --task action` and name the store in `labels`, or switch language_head off"
            )
        return answers

    def _train(self, number: int, last_step: int) -> None:
        names = [stage.name for stage in self.config.rounds[: number + 1] if stage.collect is not None]
        danger_share = self.config.rounds[number].danger_share
        drawn = self.config if danger_share is None else replace(self.config, danger_share=danger_share)
        batches = self._batches(names, self.config.seed, drawn)
        undisturbed = {"history_drop": 0.0, "status_drop": 0.0, "camera_drop": 0.0}
        clean = replace(self.config, **undisturbed, moment_shares={}, danger_share=0.0, parting_share=0.0)
        validation = self._batches(["validation"], 1, clean)
        name = self.config.rounds[number].name
        console.print(f"{name}: {batches.frames} frames to learn from, {validation.frames} held back")
        with progress_bar() as progress:
            task = progress.add_task(f"train {name}", total=last_step, completed=self.trainer.step, text="")
            text = ""

            def on_step(step: int, loss: float) -> None:
                nonlocal text
                if step % self.config.validate_every == 0 or step == last_step:
                    scores = self.trainer.validate(validation)
                    text = " plan L2 " + "/".join(f"{scores[f'plan_l2_{s}s']:.2f}" for s in (1, 2, 3)) + " m"
                    with (self.out / "validation.jsonl").open("a") as file:
                        file.write(json.dumps({"step": step, **scores}) + "\n")
                progress.update(task, completed=step, text=f"loss {loss:.2f}{text}")
                if step % LOG_EVERY == 0 and not console.is_terminal:
                    console.print(f"train {name}: step {step} of {last_step}, loss {loss:.2f}{text}")

            self.trainer.run(batches, last_step, on_step)
