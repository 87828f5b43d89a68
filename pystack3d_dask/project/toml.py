"""Corrections and settings that were made in Python, as a parameter file has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields
from typing import Any

from pystack3d_dask.core.step import Step


def content_of(steps: Sequence[Step], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the parameter file that says the same.

    Parameters
    ----------
    steps : sequence of Step
        The corrections, in order. What has its default value is left out.
    settings : mapping
        Top-level keys; None stands for "not set".
    """
    names: dict[str, Any] = {"process_steps": [step.name for step in steps]}
    tables = {step.name: _table(step) for step in steps}
    return {**names, **without_none(settings), **{k: v for k, v in tables.items() if v}}


def without_none(value: Any) -> Any:
    """Return tables and lists without what is not set, as TOML has no word for it."""
    if isinstance(value, Mapping):
        return {k: without_none(each) for k, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [without_none(each) for each in value]
    return value


def as_text(content: Mapping[str, Any]) -> str:
    """Return content as TOML."""
    import tomlkit  # not at the top: only this needs it

    return str(tomlkit.dumps(without_none(content)))


def _table(step: Step) -> dict[str, Any]:
    values = asdict(step)
    changed = (each.name for each in fields(step) if getattr(step, each.name) != _default(each))
    table: dict[str, Any] = without_none({name: values[name] for name in changed})
    return table


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
