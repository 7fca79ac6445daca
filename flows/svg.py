"""Curves as an SVG file: what a report or a browser shows. Bytes depend on the curves alone."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 180, 40, 52
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
    "#7f7f7f",
)  # Okabe and Ito 2008
_TICKS = 5


def line_chart(
    title: str,
    x_label: str,
    xs: NDArray[np.float64],
    curves: Mapping[str, NDArray[np.float64]],
    mark: float | None = None,
) -> str:
    """Shares from 0 to 1 over `xs` (rising), a line per curve with its name beside it; `mark` draws a dashed line at one x."""
    low, high = float(xs[0]), float(xs[-1])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
        *_grid(low, high, x_label),
    ]
    for number, (name, ys) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{_x(float(x), low, high):.1f},{_y(float(y)):.1f}" for x, y in zip(xs, ys, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        place = _TOP + 8 + 18 * number
        right = _WIDTH - _RIGHT + 12
        parts.append(f'<rect x="{right}" y="{place - 5}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{right + 20}" y="{place}">{escape(name)}</text>')
    if mark is not None:
        at = _x(mark, low, high)
        parts.append(_line(at, _TOP, at, _HEIGHT - _BOTTOM, "#444444", dashed=True))
        parts.append(f'<text x="{at + 4:.1f}" y="{_HEIGHT - _BOTTOM - 8}" fill="#444444">now: {mark:g}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _grid(low: float, high: float, x_label: str) -> list[str]:
    parts = []
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        y, x = _y(share), _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "#dddddd"))
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * share:.0f}%</text>')
        value = low + share * (high - low)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{value:.4g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>')
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dash}/>'


def _x(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)
