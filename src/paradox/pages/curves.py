"""Small line charts as svg text, without a plotting library: a page of an arm must be cheap."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Colour-blind safe; lines differ in dashes and in the shape of their points as well.
LOOKS = [("#0072b2", ""), ("#d55e00", "7 3"), ("#007a5e", "2 3"), ("#8a4f7d", "9 3 2 3")]
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 34, 44


class Curve(NamedTuple):
    """One line of a chart."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def chart(curves: Sequence[Curve], across: str, up: str) -> str:
    """Return a chart of up to four curves as svg. Equal numbers give equal text.

    Points that are not finite are left out.

    Parameters
    ----------
    across, up
        What the axes show.
    """
    curves = [_finite(curve) for curve in curves]
    xs, ys = [x for c in curves for x in c.x], [y for c in curves for y in c.y]
    across_ticks, up_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x_of = _scale(min([*xs, *across_ticks]), max(xs), LEFT, WIDTH - RIGHT)
    y_of = _scale(up_ticks[0], up_ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="13"'
        ' fill="#1a1a1a">'
    ]
    for tick in up_ticks:
        y = y_of(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in (tick for tick in across_ticks if tick <= max(xs)):
        at = f'x="{x_of(tick):.1f}" y="{HEIGHT - BOTTOM + 17}"'
        parts.append(f'<text {at} text-anchor="middle">{tick:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(across)}</text>'
    )
    place = f'transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2:.1f}) rotate(-90)"'
    parts.append(f'<text {place} text-anchor="middle">{html.escape(up)}</text>')
    for number, (curve, look) in enumerate(zip(curves, LOOKS, strict=False)):
        points = [(x_of(x), y_of(y)) for x, y in zip(curve.x, curve.y, strict=True)]
        left = LEFT + number * (WIDTH - LEFT - RIGHT) / len(curves)
        parts += _line(curve.label, points, number, look, left)
    return "".join([*parts, "</svg>"])


def _finite(curve: Curve) -> Curve:
    kept = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
    return Curve(curve.label, [x for x, _ in kept], [y for _, y in kept])


def _line(
    label: str, points: list[tuple[float, float]], number: int, look: tuple[str, str], left: float
) -> list[str]:
    """Return a curve with its points, and its entry in the legend."""
    colour, dashes = look
    how = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [f'<path d="M{path}" {how}/>', f'<path d="M{left:.1f} 14h26" {how}/>']
    parts += [_mark(x, y, number, colour) for x, y in [*points, (left + 13, 14)]]
    parts.append(f'<text x="{left + 32:.1f}" y="18">{html.escape(label)}</text>')
    return parts


def _mark(x: float, y: float, number: int, colour: str) -> str:
    if number % 2:
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    width = (high - low) or 1.0
    return lambda value: start + (value - low) / width * (end - start)


def ticks(low: float, high: float) -> list[float]:
    """Return a few round numbers, from at most `low` to at least `high`.

    >>> ticks(0.02, 0.93), ticks(4, 80), ticks(2.0, 2.0)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 20.0, 40.0, 60.0, 80.0], [2.0, 3.0])
    """
    if high <= low:
        return [low, low + 1.0]
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * size for size in (1, 2, 2.5, 5, 10) if unit * size >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [round(step * place, 10) for place in range(first, last + 1)]
