"""Parameters by path, such as ``destriping.filters[0].noise_level``: read, changed, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

from pystack3d_dask.core.step import Step
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.project.config import build_step
from pystack3d_dask.project.project import Project
from pystack3d_dask.project.toml import without_none

PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d+\])*")
PART = re.compile(r"[A-Za-z_]\w*|\d+")
ORIGIN = "the parameters to change"
AnyProject = TypeVar("AnyProject", bound=Project)


def parse_path(path: str) -> tuple[str | int, ...]:
    """Return the parts of a path: names of tables and parameters, and places in lists.

    Raises
    ------
    ParameterError
    """
    if not PATH.fullmatch(path):
        example = "destriping.filters[0].noise_level"
        message = f"a path such as {example} expected, found {path!r}"
        raise ParameterError([Problem("", message)], ORIGIN)
    return tuple(int(part) if part.isdigit() else part for part in PART.findall(path))


def step_index(steps: Sequence[Step], path: str) -> int:
    """Return which of the steps a path is about.

    Raises
    ------
    ParameterError
        When it is none of them, or names no parameter.
    """
    name, *rest = parse_path(path)
    names = [step.name for step in steps]
    if name not in names:
        message = f"no such step; there are {', '.join(names) or 'none'}"
        raise ParameterError([Problem(path, message)], ORIGIN)
    index = names.index(str(name))
    if not rest:
        known = ", ".join(steps[index].parameters())
        raise ParameterError([Problem(path, f"a parameter expected, one of {known}")], ORIGIN)
    return index


def with_parameters(project: AnyProject, changes: Mapping[str, Any]) -> AnyProject:
    """Return a project with other parameters, checked like those of a file.

    Parameters
    ----------
    project : Project
        Left as it is.
    changes : mapping
        New values by path.

    Raises
    ------
    ParameterError
        With every path that leads nowhere and every value that is wrong.
    """
    tables: dict[int, dict[str, Any]] = {}
    problems: list[Problem] = []
    for path, value in changes.items():
        try:
            index = step_index(project.steps, path)
            table = tables.setdefault(index, _table(project.steps[index]))
            _set(table, path, value)
        except ParameterError as error:
            problems += error.problems
    steps = list(project.steps)
    for index, table in tables.items():
        try:
            steps[index] = build_step(steps[index].name, table)
        except ParameterError as error:
            problems += error.problems
    if problems:
        raise ParameterError(problems, ORIGIN)
    given = {steps[index].name: without_none(table) for index, table in tables.items()}
    recorded = {**(project.parameters or {}), **given}
    return replace(project, steps=tuple(steps), parameters=recorded)


def _table(step: Step) -> dict[str, Any]:
    """Return the parameters of a step, with lists that can be changed."""
    return {name: _listed(value) for name, value in asdict(step).items()}


def _listed(value: Any) -> Any:
    """Return a value of plain numbers, with lists and tables of its own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: _listed(each) for name, each in value.items()}
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value


def _set(table: dict[str, Any], path: str, value: Any) -> None:
    """Put a value where a path leads, inside the table of a step."""
    name, *rest = parse_path(path)
    here: Any = table
    reached = str(name)
    for part in rest[:-1]:
        here = here[_key(here, part, reached, path)]
        reached += f"[{part}]" if isinstance(part, int) else f".{part}"
    here[_key(here, rest[-1], reached, path)] = _listed(value)


def _key(here: Any, part: str | int, reached: str, path: str) -> Any:
    """Return a part of a path if it is there."""
    if isinstance(here, Mapping) and part in here:
        return part
    if isinstance(here, list) and isinstance(part, int) and part < len(here):
        return part
    if isinstance(here, Mapping):
        there = f"has {', '.join(here)}"
    elif isinstance(here, list):
        there = f"has {len(here)} entries, [0] to [{len(here) - 1}]" if here else "is empty"
    else:
        there = "is not set" if here is None else f"is {here!r}"
    raise ParameterError([Problem(path, f"leads nowhere: {reached} {there}")], ORIGIN)
