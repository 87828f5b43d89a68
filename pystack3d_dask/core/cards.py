"""HTML cards for notebooks.

Cards take the colors of the notebook around them, light or dark, and need no scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
.ps3d{border:1px solid rgba(128,128,128,.35);border-radius:8px;padding:12px 16px;max-width:980px;
 font-size:13px;line-height:1.45}
.ps3d h4{margin:0 0 8px;font-size:15px}
.ps3d dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:0 0 10px}
.ps3d dt{opacity:.65}
.ps3d dd{margin:0}
.ps3d table{border-collapse:collapse;width:100%;margin:0;font-size:inherit}
.ps3d th,.ps3d td{text-align:left;padding:4px 10px 4px 0;vertical-align:top;
 border-top:1px solid rgba(128,128,128,.25)}
.ps3d th{opacity:.65;font-weight:normal;border-top:none}
.ps3d td.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.ps3d td.share{min-width:110px;width:18%}
.ps3d td.share div{background:#2a78b8;height:10px;margin-top:5px;border-radius:2px;min-width:1px}
.ps3d details dl{margin:4px 0 8px 18px}
.ps3d summary{cursor:pointer}
.ps3d li{margin:0}
"""


@dataclass(frozen=True)
class Share:
    """Length of a bar, as a share of the longest one, and its title."""

    of_longest: float
    title: str


def card(title: str, body: str) -> str:
    """Return a card with a title."""
    return f'<style>{STYLE}</style><div class="ps3d"><h4>{escape(title)}</h4>{body}</div>'


def pairs(values: Mapping[str, str]) -> str:
    """Return names with their values."""
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in values.items())
    return f"<dl>{rows}</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[str | Share]]) -> str:
    """Return a table; a `Share` is drawn as a bar."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(value: str | Share) -> str:
    if isinstance(value, Share):
        bar = f'<div style="width:{100 * value.of_longest:.0f}%"></div>'
        return f'<td class="share" title="{escape(value.title)}">{bar}</td>'
    is_number = value[:1].isdigit() or value.startswith("<=")
    return f"<td{' class=number' if is_number else ''}>{escape(value)}</td>"
