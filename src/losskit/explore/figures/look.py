"""Colours and type of the figures, light and dark: one pair of colours, for what is right and what is wrong."""

from __future__ import annotations

__all__ = ["DARK", "FONT", "LIGHT", "STYLE"]

# what the reader's system has; nothing is loaded
FONT = '-apple-system, BlinkMacSystemFont, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif'

LIGHT = {
    "panel": "#ffffff",
    "border": "#d9dee5",
    "ink": "#1b2330",
    "muted": "#586374",
    "grid": "#e7eaef",
    "rule": "#aab3c0",
    "box": "#f2f4f8",
    "right": "#1f5fd6",
    "wrong": "#c0490f",
    "pale-right": "#dde8fd",
    "pale-wrong": "#fbe3d6",
}
DARK = {
    "panel": "#11161d",
    "border": "#2b3440",
    "ink": "#e7ebf1",
    "muted": "#9ba7b7",
    "grid": "#252d38",
    "rule": "#566274",
    "box": "#1b222c",
    "right": "#7eabff",
    "wrong": "#f59a66",
    "pale-right": "#1d3157",
    "pale-wrong": "#4d2c1b",
}


def _rules(colour: dict[str, str]) -> str:
    """Every class that depends on the scheme."""
    fills = "".join(
        f".{name}{{fill:{colour[name]}}}" for name in ("ink", "muted", "right", "wrong", "box", "pale-right", "pale-wrong")
    )
    strokes = "".join(
        f"line.{name},polyline.{name}{{stroke:{colour[name]}}}" for name in ("grid", "rule", "ink", "muted", "right", "wrong")
    )
    rings = "".join(f".ring.{name}{{fill:none;stroke:{colour[name]}}}" for name in ("rule", "right", "wrong"))
    return (
        f"text{{fill:{colour['ink']}}}.panel{{fill:{colour['panel']};stroke:{colour['border']}}}"
        f".dull{{fill:{colour['rule']}}}{fills}{strokes}{rings}"
    )


STYLE = (
    "text{font-variant-numeric:tabular-nums}.bold{font-weight:600}"
    "line,.ring{stroke-width:1}.dash{stroke-dasharray:4 4}polyline{fill:none!important;stroke-width:2.5;stroke-linejoin:round}"
    "polyline.arrow{stroke-width:1.6}" + _rules(LIGHT) + f"@media(prefers-color-scheme:dark){{{_rules(DARK)}}}"
)
