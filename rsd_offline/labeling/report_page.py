"""The report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence

from rsd_offline.labeling.report_plots import band, histogram

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1120px;padding:0 1em;color:#222;background:#f7f7f8}
h1{font-size:1.6em;margin-bottom:.1em}h2{font-size:1.2em;margin:2.2em 0 .3em;border-bottom:1px solid #ccc}
table{border-collapse:collapse;margin:.6em 0}
td,th{padding:.3em 1.4em .3em 0;text-align:right;border-bottom:1px solid #e4e4e4;vertical-align:bottom}
td:first-child,th:first-child{text-align:left}th{font-weight:600;color:#555}
.about td{text-align:left;border:0;padding:.05em 1.2em .05em 0}.about td:first-child{color:#666}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(195px,1fr));gap:.8em}
.tile,figure{background:#fff;border:1px solid #ddd;border-radius:6px;padding:.7em 1em;margin:0}
.tile b{display:block;font-size:1.5em;line-height:1.3}.tile span{color:#333}
.tile i{display:block;color:#777;font-style:normal;font-size:.82em;line-height:1.35;margin-top:.25em}
.note,figcaption{color:#555;max-width:58em;margin:.3em 0 .8em}figcaption{margin:.4em 0 0;font-size:.9em}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:.8em}
.frames{display:grid;grid-template-columns:1fr 1fr;gap:.8em}.frames figure{padding:.4em .4em .6em}
img{width:100%;display:block;cursor:zoom-in}input{display:none}
input:checked+img{position:fixed;inset:0;width:100vw;height:100vh;object-fit:contain;background:#000d;cursor:zoom-out}
svg{width:100%;height:auto}
"""
# heading, what it is about, tiles: (figure, name, kind, how to read it)
TILES: tuple[tuple[str, str, tuple[tuple[str, str, str, str], ...]], ...] = (
    ("Do its samples agree?",
     "The risk question is asked several times per frame. A label is the mean of the samples; the more they differ, "
     "the less it weighs in training.", (
        ("spread", "spread of risk", "number", "standard deviation between samples, 0 to 0.5; from 0.25 on the weight "
         "is 0"),
        ("kendall_tau", "Kendall's tau", "number", "same order of objects in all samples = 1, unrelated = 0"),
        ("diff_risk", "Diff_Risk", "number", "disagreement between samples, 0 to 1"),
        ("gated_share", "frames gated", "share", "samples disagree too much: none of the frame's labels counts"),
        ("weight", "weight of a valid label", "number", "mean, 0 to 1: how much of the labels reaches training"),
    )),
    ("What came back", "Whatever cannot be used is asked for again, then left out. It never becomes a risk of 0.", (
        ("valid_share", "objects with a valid label", "share", "of all that were asked about"),
        ("omission_rate_first", "left out in first answers", "share", "judgements missing, of those owed"),
        ("omission_rate", "left out for good", "share", "the same after asking again"),
        ("inventions_per_sample", "invented ids per sample", "number", "judged though nobody asked for them; dropped"),
        ("parse_failure_rate", "answers not usable", "share", "empty, cut off, no JSON, or of another shape"),
        ("brightened_share", "frames brightened", "share", "too dark as they were"),
    )),
    ("Does it say more than a ruler?",
     "A teacher that only says “near is dangerous” is worth nothing: distance is known without it. The figures "
     "are shares of the risk's variance that a table of distances (or places) explains; near 100 % is bad.", (
        ("distance_share", "explained by distance", "share", "bins of 2.5 m"),
        ("position_share", "explained by place", "share", "5 m of distance, ahead or behind, on the ego's axis or "
         "beside it"),
    )),
    ("What it cost", "", (
        ("requests", "requests", "count", "those of earlier calls included"),
        ("answers", "answers", "count", "one request may bring several"),
        ("prompt_tokens", "prompt tokens", "count", ""), ("completion_tokens", "answer tokens", "count", ""),
        ("cost", "US$", "money", "at the prices of the run"),
    )),
)  # fmt: skip
COLUMNS = {
    "objects": "objects", "frames": "frames", "valid": "valid", "risk": "mean risk", "spread": "spread",
    "distance_share": "explained by distance", "omission_rate_first": "left out at first",
    "omission_rate": "left out for good", "diff_risk": "Diff_Risk", "not_ok": "gated or failed",
    "kendall_tau": "Kendall's tau",
}  # fmt: skip
SHARES = ("valid", "distance_share", "omission_rate_first", "omission_rate", "not_ok")


def render_page(figures: Mapping, pictures: Mapping[str, Sequence[tuple[str, str, bytes]]]) -> str:
    """HTML of `report.figures`; `pictures`: heading -> (frame id, words on it, JPEG) of the frames to show under it."""
    parts = [*_head(figures)]
    for heading, note, tiles in TILES:
        parts += [f"<h2>{heading}</h2>", f'<p class="note">{note}</p>' if note else "", '<div class="grid">']
        parts += [_tile(figures[key], name, kind, hint) for key, name, kind, hint in tiles]
        parts.append("</div>")
    parts += _plots(figures)
    parts += _tables(figures)
    for heading, shown in pictures.items():
        parts += [f"<h2>{html.escape(heading)}</h2>", '<p class="note">A click enlarges a picture.</p>']
        parts.append('<div class="frames">')
        parts += [_figure(*frame) for frame in shown] or ["<p>None: a single sample has nothing to disagree with.</p>"]
        parts.append("</div>")
    body = "\n".join(parts)
    title = f"<title>Labels by {html.escape(figures['teacher']['model'])}</title>"
    return f'<!doctype html><html lang="en"><meta charset="utf-8">{title}<style>{STYLE}</style>{body}</html>'


def show(value: object, kind: str = "number") -> str:
    """A figure as text; a dash where there is none."""
    if value is None:
        return "&ndash;"
    if isinstance(value, str):
        return html.escape(value)
    number = float(value)  # type: ignore[arg-type]
    if kind == "share":
        return f"{100.0 * number:.1f} %"
    if kind == "money":
        return f"{number:,.2f}" if number >= 1.0 or number == 0.0 else f"{number:.4f}"
    if kind == "count" or isinstance(value, int):
        return f"{int(number):,}"
    return f"{number:.3f}"


def _head(figures: Mapping) -> list[str]:
    teacher = figures["teacher"]
    hashes = ", ".join(f"{task} {digest}" for task, digest in json.loads(teacher["prompt_hash"]).items())
    status = ", ".join(f"{n:,} {name}" for name, n in sorted(figures["status"].items(), key=lambda item: -item[1]))
    rows = {
        "teacher": teacher["model"], "its parameters": _words(json.loads(teacher["parameters"])),
        "prompts": f"{teacher['prompt_family']} ({hashes})", "dataset": teacher["dataset"],
        "frames": f"{figures['frames']:,} ({status})",
        "objects": f"{figures['objects']:,}, {figures['valid_objects']:,} of them with a valid label",
    }  # fmt: skip
    cells = "".join(f"<tr><td>{name}</td><td>{html.escape(words)}</td></tr>" for name, words in rows.items())
    return ["<h1>How far can these labels be trusted?</h1>", f'<table class="about">{cells}</table>']


def _words(parameters: Mapping) -> str:
    """Nested values in one line of plain words."""
    flat = [f"{k} {_words(v) if isinstance(v, Mapping) else v}" for k, v in parameters.items()]
    return ", ".join(flat) or "none"


def _tile(value: object, name: str, kind: str, hint: str) -> str:
    words = f"<i>{hint}</i>" if hint else ""
    return f'<div class="tile"><b>{show(value, kind)}</b><span>{name}</span>{words}</div>'


def _plots(figures: Mapping) -> list[str]:
    gate = (figures["max_diff_risk"], "gate")
    plots = {
        "Objects by their risk. Most of what stands around a car is harmless: a teacher that fills the middle does not "
        "tell the dangerous ones apart.": histogram(*figures["risk_histogram"], "risk", "objects"),
        "Mean risk, and one standard deviation, per 5 m of distance. A narrow falling band says no more than a ruler.":
            band(figures["risk_by_distance"], "distance in m", "risk"),
        "Frames by how far the samples disagree. Those right of the gate are not used.":
            histogram(*figures["diff_risk_histogram"], "Diff_Risk between samples", "frames", gate),
        "Valid labels by their weight.": histogram(*figures["weight_histogram"], "weight in training", "objects"),
    }  # fmt: skip
    shown = [f"<figure>{plot}<figcaption>{words}</figcaption></figure>" for words, plot in plots.items()]
    return ["<h2>How the figures are spread</h2>", '<div class="plots">', *shown, "</div>"]


def _tables(figures: Mapping) -> list[str]:
    parts = []
    if figures["against"]:
        note = "Over the frames and objects that both judge. Diff_Risk: 0 = the same risks, 1 = the opposite."
        parts += ["<h2>Against other teachers</h2>", f'<p class="note">{note}</p>']
        parts.append(_rows("teacher", figures["against"]))
    parts += ["<h2>By class</h2>", _rows("class", figures["by_class"])]
    parts += ["<h2>By weather</h2>", _rows("weather", figures["by_weather"])]
    parts += ["<h2>By time of day</h2>", _rows("time of day", figures["by_time_of_day"])]
    parts += ["<h2>What could not be used</h2>"]
    found = {"in an answer": figures["faults"], "frame failed because of": figures["failures"]}
    parts += [_table((name, "times"), counts) for name, counts in found.items() if counts] or ["<p>Nothing.</p>"]
    return parts


def _table(head: Sequence[str], rows: Mapping[str, int]) -> str:
    header = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join(f"<tr><td>{show(k.replace('_', ' '))}</td><td>{show(v)}</td></tr>" for k, v in rows.items())
    return f"<table><tr>{header}</tr>{body}</table>"


def _rows(name: str, table: Mapping[str, Mapping]) -> str:
    if not table:
        return "<p>None.</p>"
    columns = list(next(iter(table.values())))
    header = "".join(f"<th>{html.escape(h)}</th>" for h in (name, *(COLUMNS[c] for c in columns)))
    lines = []
    for key, row in table.items():
        cells = "".join(f"<td>{show(row[c], 'share' if c in SHARES else 'number')}</td>" for c in columns)
        lines.append(f"<tr><td>{html.escape(key.replace('_', ' '))}</td>{cells}</tr>")
    return f"<table><tr>{header}</tr>{''.join(lines)}</table>"


def _figure(frame_id: str, words: str, jpeg: bytes) -> str:
    data = base64.b64encode(jpeg).decode()
    image = f'<img alt="{html.escape(frame_id)}" src="data:image/jpeg;base64,{data}">'
    image = f'<label><input type="checkbox">{image}</label>'  # a click enlarges it
    return f"<figure>{image}<figcaption><b>{html.escape(frame_id)}</b> {html.escape(words)}</figcaption></figure>"
