"""HTML cards for notebooks, and that of a plan.

Cards take the colours of the notebook around them, light or dark, and need no scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pystack3d_dask.core.formatting import duration, extent, in_units
from pystack3d_dask.core.plan_text import sentence
from pystack3d_dask.core.planner import Plan

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
    """How long a bar is, of the longest one, and what it stands for."""

    of_longest: float
    title: str


def plan_card(plan: Plan) -> str:
    """Return what is left to do, pass by pass."""
    if not plan.passes:
        return card("Plan", "<p>Nothing to do: the result is complete.</p>")
    facts = {
        "slices": f"{extent(plan.chains[0].levels[0])} pixels, to "
        f"{_bound(plan.chains[0].levels[-1].is_bound)}{extent(plan.chains[0].levels[-1])}",
        "the stack is": f"read {plan.reads} times, written {plan.writes} times",
        "memory": f"{in_units(plan.memory)} for each worker at most",
        "disk": f"{in_units(plan.peak_disk)} before compression",
        "time": f"about {duration(plan.seconds)} on one core",
    }
    longest = max(item.seconds for item in plan.passes)
    rows: list[list[str | Share]] = [
        [
            str(number),
            sentence(plan, item),
            f"{item.tasks:,}",
            _bound(item.is_bound) + in_units(item.bytes_read),
            _bound(item.is_bound) + in_units(item.bytes_written),
            Share(item.seconds / longest, f"about {duration(item.seconds)} on one core"),
        ]
        for number, item in enumerate(plan.passes, start=1)
    ]
    head = ["pass", "", "tasks", "reads", "writes", "share of the time"]
    return card("Plan", pairs(facts) + table(head, rows))


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


def _bound(is_bound: bool) -> str:
    return "<= " if is_bound else ""
