"""What a session found, as a picture: for each target the bars of ours and of its peers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.quantities import medians, readable
from benchmarks.table import OURS, Result

WIDTH: Final = 1_000
LABELS: Final = 260  # where the bars begin
LONGEST: Final = 560
BAR: Final = 18
LINE: Final = 24
HEAD: Final = 44
STYLE: Final = """
  svg { background: transparent }
  text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-weight: 600; font-size: 14px }
  .quiet { fill: #52606d }
  .ours { fill: #0b7285 } .peer { fill: #adb5bd } .frame { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e8eb } .quiet { fill: #aab2bb }
    .ours { fill: #3bc9db } .peer { fill: #5c6670 } .frame { fill: #14181c }
  }
"""


def svg(results: Sequence[Result]) -> str:
    """A standalone image that follows the reader's light or dark scheme.

    Within a target the longest bar is the largest number; each bar says its own.
    """
    drawn: list[str] = []
    top = 12
    for result in results:
        bars = _bars(result)
        if bars:
            drawn.append(_target(result, bars, top))
            top += HEAD + LINE * len(bars)
    height = top + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Measurements of Cadenza and its peers">\n<style>{STYLE}</style>\n'
        f'<rect class="frame" width="{WIDTH}" height="{height}"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


def _bars(result: Result) -> list[tuple[str, float]]:
    found = medians(result.measured.runs)
    return [(name, found[name]) for name in result.target.bars if name in found]


def _target(result: Result, bars: Sequence[tuple[str, float]], top: int) -> str:
    target = result.target
    most = max(number for _, number in bars) or 1.0
    head = (
        f'<text class="title" x="16" y="{top + 22}">{escape(f"{target.name}  {target.title}")}'
        f'<tspan class="quiet" font-weight="400"> ({escape(target.unit)}, '
        f"{target.better} is better)</tspan></text>"
    )
    lines = [
        _bar(name, number, length=max(2.0, LONGEST * number / most), y=top + 34 + LINE * row)
        for row, (name, number) in enumerate(bars)
    ]
    return "\n".join([head, *lines])


def _bar(name: str, number: float, *, length: float, y: int) -> str:
    kind = "ours" if name.startswith(OURS) else "peer"
    middle = y + BAR - 5
    return (
        f'<text x="{LABELS - 10}" y="{middle}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>'
        f'<text x="{LABELS + length + 8:.1f}" y="{middle}">{readable(number)}</text>'
    )
