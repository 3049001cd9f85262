"""The sum of a verify run as a small picture: an SVG file of its own that loads nothing."""

from __future__ import annotations

from html import escape

__all__ = ["badge"]

_LABEL = "losskit verify"
_GREEN, _RED, _GREY = "#116329", "#a40e26", "#424a53"  # white on each has a contrast of 7 or more, on light pages and dark
_PER_LETTER = 6.9  # width of a letter of DejaVu Sans at 11 px, the widest that a system is likely to bring
_PAD = 8


def badge(passed: int, failed: int, not_run: int = 0) -> str:
    """ "losskit verify | 152 of 152", green where nothing failed, red otherwise."""
    said = f"{passed} of {passed + failed}" + (f", {not_run} not run" if not_run else "")
    left, right = (round(len(text) * _PER_LETTER) + 2 * _PAD for text in (_LABEL, said))
    colour = _GREEN if passed and not failed else _RED
    title = escape(f"{_LABEL}: {said}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="{_GREY}"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>'
        '<g fill="#fff" font-family="DejaVu Sans,Verdana,Geneva,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14">{escape(_LABEL)}</text>'
        f'<text x="{left + right / 2:g}" y="14">{escape(said)}</text></g></svg>\n'
    )
