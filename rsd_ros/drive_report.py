"""`report.html` and `metrics.json` of a recorded drive: one self-contained page with curves, latency and the score."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from rsd_ros.drive_log import DriveLog, closing_report, infractions_of, outcome_words
from rsd_ros.drive_video import DriveVideo

DISCLAIMER = "Results in the embedded world; they are no CARLA and no Bench2Drive results."
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } table { border-collapse: collapse; margin: 1em 0; }
td, th { padding: .25em .9em; border-bottom: 1px solid #ddd; text-align: left; } td.n { text-align: right; }
img, video { max-width: 100%; } .good { color: #18794e; } .bad { color: #c62828; } .note { color: #666; }
"""


def stage_milliseconds(log: DriveLog) -> dict[str, np.ndarray]:
    """Stage name -> milliseconds of every plan (nan where a status lacks the stage), `total` last."""
    statuses = [m.status for m in log.moments if m.status is not None]
    names = list(dict.fromkeys(s.name for status in statuses for s in status.stages))
    table = {
        name: np.array([next((s.milliseconds for s in status.stages if s.name == name), np.nan) for status in statuses])
        for name in names
    }
    # a stop trajectory ran no stages: it says nothing about the planner's speed
    return table | {"total": np.array([status.total_milliseconds or np.nan for status in statuses])}


def drive_metrics(log: DriveLog, extra: dict[str, Any]) -> dict[str, Any]:
    """Plain numbers of a drive for metrics.json; `extra` (settings, wall time) is put in front."""
    speeds = np.array([m.speed for m in log.moments])
    risks = np.array([m.top_risk[0] for m in log.moments])
    stages = {
        name: {"median": float(np.nanmedian(ms)), "p99": float(np.nanpercentile(ms, 99))}
        for name, ms in stage_milliseconds(log).items()
        if np.isfinite(ms).any()
    }
    return {
        **extra,
        "plans": len(log.moments),
        "simulated_seconds": log.moments[-1].stamp - log.moments[0].stamp,
        "mean_speed": float(np.nanmean(speeds)) if np.isfinite(speeds).any() else None,
        "max_risk": float(risks.max()),
        "stop_plans": sum(bool(m.trajectory.is_stop) for m in log.moments),
        "milliseconds": stages,
        "world": closing_report(log),
    }


def _picture(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(figure)
    return f'<img alt="" src="data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _curves(log: DriveLog) -> str:
    times = np.array([m.stamp for m in log.moments]) - log.moments[0].stamp
    controls = [m.control for m in log.moments]
    steer = np.array([np.nan if c is None else c.steer for c in controls])
    throttle = np.array([np.nan if c is None else c.throttle for c in controls])
    brake = np.array([np.nan if c is None else c.brake for c in controls])
    figure, axes = plt.subplots(4, 1, figsize=(11, 9), sharex=True)
    axes[0].plot(times, [m.speed for m in log.moments], color="#1b6ca8")
    axes[0].set_ylabel("speed, m/s")
    axes[0].set_ylim(bottom=min(0.0, *axes[0].get_ylim()), top=max(5.0, *axes[0].get_ylim()))
    axes[1].plot(times, steer, color="#444")
    axes[1].set_ylabel("steer (right +)")
    axes[1].set_ylim(-1.05, 1.05)
    axes[2].plot(times, throttle, color="#18794e", label="throttle")
    axes[2].plot(times, brake, color="#c62828", label="brake")
    axes[2].legend(loc="upper right")
    axes[2].set_ylabel("pedals")
    axes[2].set_ylim(-0.05, 1.05)
    axes[3].fill_between(times, [m.top_risk[0] for m in log.moments], color="#e07a1f", alpha=0.6)
    axes[3].set_ylim(0, 1)
    axes[3].set_ylabel("highest object risk")
    axes[3].set_xlabel("simulated time, s")
    stops = [t for t, m in zip(times, log.moments, strict=True) if m.trajectory.is_stop]
    for axis in axes:
        axis.grid(alpha=0.3)
        for stop in stops:
            axis.axvline(stop, color="#c62828", alpha=0.15, linewidth=2)
    return _picture(figure)


def _latency(log: DriveLog) -> str:
    stages = {k: v[np.isfinite(v)] for k, v in stage_milliseconds(log).items()}
    stages = {k: v for k, v in stages.items() if len(v)}
    if not stages:
        return "<p class=note>The recording holds no planner status.</p>"
    figure, axis = plt.subplots(figsize=(11, 0.5 + 0.45 * len(stages)))
    axis.boxplot(list(stages.values()), orientation="horizontal", whis=(1, 99), showfliers=False)
    axis.set_yticks(range(1, len(stages) + 1), list(stages))
    axis.set_xlabel("ms of wall time (box: quartiles, whiskers: 1 and 99 %)")
    axis.grid(alpha=0.3)
    return _picture(figure)


def _rows(values: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        return html.escape("not available" if value is None else shown)

    return "".join(
        f"<tr><td>{html.escape(key.replace('_', ' '))}</td><td class=n>{text(value)}</td></tr>"
        for key, value in values.items()
        if not isinstance(value, dict | list) and value != ""
    )


def _still(log: DriveLog) -> str:
    """The moment of the highest risk, as it looks in the video."""
    index = int(np.argmax([m.top_risk[0] if m.images else -1.0 for m in log.moments]))
    jpeg = cv2.imencode(".jpg", DriveVideo(log).frame(index), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    seconds = log.moments[index].stamp - log.moments[0].stamp
    return (
        f'<p><img alt="cameras and bird\'s-eye view" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
        f"<br><span class=note>The moment of the highest object risk, {seconds:.1f} s after the start.</span></p>"
    )


def _infractions(world: dict[str, Any]) -> str:
    if not world:
        return ""
    items = [
        f"<li>{float(i['time']):.1f} s: {html.escape(str(i['kind']))}, {html.escape(str(i['detail']))}</li>"
        for i in infractions_of(world)
    ]
    return f"<h3>Infractions</h3><ul>{''.join(items) or '<li class=good>none</li>'}</ul>"


def _heading(metrics: dict[str, Any]) -> str:
    outcome = html.escape(outcome_words(metrics["world"]))
    if "passed" not in metrics:
        return f"<h1>Drive: {outcome}</h1>"
    word = "passed" if metrics["passed"] else "not passed"
    return f"<h1>Drive: <span class={'good' if metrics['passed'] else 'bad'}>{outcome}, {word}</span></h1>"


def write_report(log: DriveLog, metrics: dict[str, Any], path: Path, video: str = "") -> None:
    """Write the page; it needs no other file. `video` is the name of the one beside it, linked where given."""
    world = metrics["world"]
    problems = [text for text in (metrics.get("problem"), log.damage and f"recording broken off: {log.damage}") if text]
    page = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>RSD drive</title><style>{STYLE}</style>",
        _heading(metrics),
        *(f"<pre class=bad>{html.escape(text)}</pre>" for text in problems),
        f"<p class=note>{DISCLAIMER}</p>" if world else "",
        _still(log),
        f'<p>The whole drive: <a href="{html.escape(video)}">{html.escape(video)}</a></p>' if video else "",
        f"<h2>Score</h2><table>{_rows(world.get('score') or world)}</table>" if world else "", _infractions(world),
        "<h2>The drive over time</h2>", _curves(log),
        "<p class=note>Red bands: a stop trajectory was sent.</p>" if metrics.get("stop_plans") else "",
        "<h2>Latency by stage</h2>", _latency(log),
        "<h2>Run</h2><table>", _rows(metrics), _rows(metrics.get("options", {})), "</table></html>",
    ]  # fmt: skip
    path.write_text("\n".join(page))
