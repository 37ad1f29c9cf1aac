"""The report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1100px;padding:0 1em;color:#222;background:#fafafa}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid #ddd}
table{border-collapse:collapse;margin:.6em 0}
td,th{padding:.25em .9em .25em 0;text-align:right;border-bottom:1px solid #eee}
td:first-child,th:first-child{text-align:left}th{font-weight:600;color:#555}
.tiles{display:flex;flex-wrap:wrap;gap:.8em}
.tile{background:#fff;border:1px solid #e2e2e2;border-radius:6px;padding:.6em 1em}
.tile b{display:block;font-size:1.35em}.tile span{color:#666;font-size:.85em}.note{color:#666}
img{max-width:100%;border:1px solid #ccc;margin:.3em 0}svg{background:#fff;border:1px solid #e2e2e2}
"""
TILES = (
    ("frames", "frames", "count"), ("valid_objects", "valid object labels", "count"),
    ("omission_rate_first", "omitted in first answers", "share"),
    ("omission_rate", "omitted after asking again", "share"),
    ("inventions_per_answer", "invented ids per answer", "number"),
    ("parse_failure_rate", "answers not usable", "share"),
    ("spread", "spread between samples", "number"), ("kendall_tau", "Kendall tau between samples", "number"),
    ("diff_risk", "Diff_Risk between samples", "number"),
    ("distance_share", "of risk variance is distance alone", "share"),
    ("position_share", "of risk variance is place alone", "share"), ("brightened_share", "frames brightened", "share"),
    ("prompt_tokens", "prompt tokens", "count"), ("completion_tokens", "answer tokens", "count"),
    ("cost", "US$", "number"),
)  # fmt: skip
SHARES = ("valid", "distance_share", "omission_rate_first", "omission_rate", "not_ok")


def render_page(figures: Mapping, pictures: Mapping[str, Sequence[tuple[str, bytes]]]) -> str:
    """HTML of `report.figures`; `pictures`: heading -> (frame id, JPEG) of the frames to show under it."""
    teacher = figures["teacher"]
    tiles = "".join(
        f'<div class="tile"><b>{show(figures[key], kind)}</b><span>{label}</span></div>' for key, label, kind in TILES
    )
    parts = [
        f"<h1>Labels of {html.escape(teacher['dataset'])} by {html.escape(teacher['model'])}</h1>",
        f'<p class="note">parameters {html.escape(teacher["parameters"])}, '
        f'prompts {html.escape(teacher["prompt_family"])} '
        f"{html.escape(teacher['prompt_hash'])}, run {html.escape(teacher['run'])}</p>",
        f'<div class="tiles">{tiles}</div>',
        "<h2>Frames</h2>", _table(("status", "frames"), figures["status"].items()),
        _table(("failure", "frames"), figures["failures"].items()) if figures["failures"] else "",
        "<h2>What could not be used</h2>",
        _table(("reason", "times"), figures["faults"].items()) if figures["faults"] else "<p>Nothing.</p>",
        "<h2>Risk and distance</h2>",
        '<p class="note">Mean risk and one standard deviation per 5 m. A teacher that says no more than '
        '"near is dangerous" '
        "has a large share of its variance explained by distance alone.</p>",
        _curve(figures["risk_by_distance"]),
        "<h2>By class</h2>", _rows("class", figures["by_class"]),
        "<h2>By weather</h2>", _rows("weather", figures["by_weather"]),
        "<h2>By time of day</h2>", _rows("time of day", figures["by_time_of_day"]),
    ]  # fmt: skip
    if figures["against"]:
        parts += ["<h2>Against other teachers</h2>", _rows("teacher", figures["against"])]
    for heading, shown in pictures.items():
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        parts += [_figure(frame_id, jpeg) for frame_id, jpeg in shown] or [
            "<p>None: a single sample has no spread.</p>"
        ]
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Labels</title><style>{STYLE}</style>{body}</html>'
    )


def show(value: object, kind: str = "number") -> str:
    """A figure as text; a dash where there is none."""
    if value is None:
        return "&ndash;"
    if isinstance(value, str):
        return html.escape(value)
    if kind == "share":
        return f"{100.0 * float(value):.1f} %"  # type: ignore[arg-type]
    if kind == "count" or isinstance(value, int):
        return f"{int(value):,}"  # type: ignore[call-overload]
    return f"{float(value):.3f}"  # type: ignore[arg-type]


def _table(head: Sequence[str], rows: object) -> str:
    header = "".join(f"<th>{html.escape(h.replace('_', ' '))}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{show(v)}</td>" for v in row) + "</tr>" for row in rows)  # type: ignore[attr-defined]
    return f"<table><tr>{header}</tr>{body}</table>"


def _rows(name: str, table: Mapping[str, Mapping]) -> str:
    if not table:
        return "<p>None.</p>"
    columns = list(next(iter(table.values())))
    header = "".join(f"<th>{html.escape(h.replace('_', ' '))}</th>" for h in (name, *columns))
    lines = []
    for key, row in table.items():
        cells = "".join(f"<td>{show(row[c], 'share' if c in SHARES else 'number')}</td>" for c in columns)
        lines.append(f"<tr><td>{html.escape(key)}</td>{cells}</tr>")
    return f"<table><tr>{header}</tr>{''.join(lines)}</table>"


def _curve(points: Sequence[tuple[float, float, float, int]]) -> str:
    """Mean risk over distance with a band of one standard deviation, as SVG."""
    if not points:
        return "<p>No judged object has a known place.</p>"
    width, height, left, low = 640, 240, 40, 210
    reach = max(p[0] for p in points) + 2.5

    def at(distance: float, risk: float) -> str:
        return f"{left + distance / reach * (width - left - 10):.1f},{low - min(max(risk, 0.0), 1.0) * (low - 15):.1f}"

    band = [at(d, m + s) for d, m, s, _ in points] + [at(d, m - s) for d, m, s, _ in reversed(points)]
    line = " ".join(at(d, m) for d, m, _, _ in points)
    ticks = "".join(
        f'<text x="{at(d, 0).split(",")[0]}" y="{low + 16}" font-size="11" text-anchor="middle">{d}</text>'
        for d in range(0, int(reach) + 1, 10)
    )
    levels = "".join(
        f'<text x="6" y="{at(0, r).split(",")[1]}" font-size="11">{r}</text>'
        f'<path d="M{left} {at(0, r).split(",")[1]}H{width - 10}" stroke="#eee"/>'
        for r in (0.0, 0.5, 1.0)
    )
    label = f'<text x="{width / 2}" y="{height - 2}" font-size="11" text-anchor="middle">distance in m</text>'
    return (
        f'<svg width="{width}" height="{height}">{levels}{ticks}{label}'
        f'<polygon points="{" ".join(band)}" fill="#cfe0f5"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f5fae" stroke-width="2"/></svg>'
    )


def _figure(frame_id: str, jpeg: bytes) -> str:
    data = base64.b64encode(jpeg).decode()
    image = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{image}<figcaption>{html.escape(frame_id)}</figcaption></figure>"
