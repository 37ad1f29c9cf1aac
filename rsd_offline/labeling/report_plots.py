"""The report's plots as SVG that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT = 500, 250
LEFT, RIGHT, TOP, LOW = 62, 12, 14, 200  # edges of the plot's area, px; LOW is the height of the x axis
INK, GRID, BAR, BAND = "#444", "#ececec", "#4a86c8", "#cfe0f5"


def histogram(
    edges: Sequence[float], counts: Sequence[int], x_label: str, y_label: str, mark: tuple[float, str] | None = None
) -> str:
    """Bars of `counts` between `edges`; `mark` is a dashed line at a value, with its words."""
    if not sum(counts):
        return "<p>Nothing to show.</p>"
    low, high, most = edges[0], edges[-1], max(counts)

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    bars = []
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        tall = count / most * (LOW - TOP)
        title = f"<title>{left:.2f} to {right:.2f}: {count:,}</title>"
        place = f'x="{across(left) + 0.5:.1f}" width="{max(across(right) - across(left) - 1.0, 0.5):.1f}"'
        bars.append(f'<rect {place} y="{LOW - tall:.1f}" height="{tall:.1f}" fill="{BAR}">{title}</rect>')
    ticks = [low + k * (high - low) / 5.0 for k in range(6)]
    body = [*_y_axis([(0.0, "0"), (0.5, f"{most / 2:,.0f}"), (1.0, f"{most:,}")]), *bars]
    body += [_x_tick(across(t), f"{t:.1f}") for t in ticks]
    if mark is not None:
        x = across(mark[0])
        body.append(f'<path d="M{x:.1f} {TOP}V{LOW}" stroke="#c0392b" stroke-width="1.5" stroke-dasharray="5 3"/>')
        body.append(_text(x + 5, TOP + 10, mark[1], "start", "#c0392b"))
    return _svg(body, x_label, y_label)


def band(points: Sequence[tuple[float, float, float, int]], x_label: str, y_label: str) -> str:
    """Mean and one standard deviation over x from (x, mean, deviation, objects), y from 0 to 1."""
    if not points:
        return "<p>No judged object has a known place.</p>"
    reach = max(p[0] for p in points) + 2.5

    def at(x: float, y: float) -> str:
        across = LEFT + x / reach * (WIDTH - LEFT - RIGHT)
        return f"{across:.1f},{LOW - min(max(y, 0.0), 1.0) * (LOW - TOP):.1f}"

    outline = [at(x, m + s) for x, m, s, _ in points] + [at(x, m - s) for x, m, s, _ in reversed(points)]
    line = " ".join(at(x, m) for x, m, _, _ in points)
    dots = [
        f'<circle cx="{at(x, m).split(",")[0]}" cy="{at(x, m).split(",")[1]}" r="3" fill="{BAR}">'
        f"<title>{x:.0f} m: {m:.2f} +- {s:.2f}, {n:,} objects</title></circle>"
        for x, m, s, n in points
    ]
    body = _y_axis([(k / 4.0, f"{k / 4.0:.2f}") for k in range(5)])
    body += [f'<polygon points="{" ".join(outline)}" fill="{BAND}"/>']
    body += [f'<polyline points="{line}" fill="none" stroke="{BAR}" stroke-width="2"/>', *dots]
    body += [_x_tick(float(at(x, 0).split(",")[0]), str(x)) for x in range(0, int(reach) + 1, 10)]
    return _svg(body, x_label, y_label)


def _y_axis(levels: Sequence[tuple[float, str]]) -> list[str]:
    """Grid lines at shares of the height, with their words."""
    body = []
    for share, words in levels:
        y = LOW - share * (LOW - TOP)
        body.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        body.append(_text(LEFT - 6, y + 4, words, "end"))
    return body


def _x_tick(x: float, words: str) -> str:
    return f'<path d="M{x:.1f} {LOW}v4" stroke="{INK}"/>' + _text(x, LOW + 17, words, "middle")


def _text(x: float, y: float, words: str, anchor: str, color: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{words}</text>'


def _svg(body: Sequence[str], x_label: str, y_label: str) -> str:
    label = _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, "middle")
    axis = f'<path d="M{LEFT} {LOW}H{WIDTH - RIGHT}" stroke="{INK}"/>'
    label += f'<g transform="rotate(-90)">{_text(-(TOP + LOW) / 2, 12, y_label, "middle")}</g>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">{"".join(body)}{axis}{label}</svg>'
