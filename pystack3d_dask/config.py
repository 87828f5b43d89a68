"""Parameter files to pipelines: TOML in, checked objects out, every mistake named at once.

PyStack3D's files are read unchanged, with its deprecated keys and its empty strings for
"not set".
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pystack3d_dask.errors import ParameterError, Problem, SourceError
from pystack3d_dask.io.source import Source
from pystack3d_dask.io.sources import open_source
from pystack3d_dask.pipeline import KEEP_ALL, Keep, Pipeline, check_steps
from pystack3d_dask.spec import Precision
from pystack3d_dask.step import Step, registry

PARAMS_NAME = "params.toml"
DEPRECATED = {"dirname": "project_dir", "input_dirname": "project_dir"}


class Settings(BaseModel):
    """The top-level keys of a parameter file."""

    model_config = ConfigDict(extra="forbid")

    process_steps: tuple[str, ...]
    channels: tuple[str, ...] = (".",)
    ind_min: int = 0
    ind_max: int | None = None
    nproc: int | None = None
    project_dir: str | None = None
    history: tuple[str, ...] = ()
    precision: Precision = "float32"
    keep: tuple[Keep, ...] = KEEP_ALL
    bad_slices: Literal["fail"] = "fail"
    samples: Literal["luminance", "channels"] | None = None


def find_params(path: Path) -> Path:
    """Return the parameter file of a project.

    Parameters
    ----------
    path : Path
        The file itself, or a directory with ``params.toml`` or any single ``*.toml``.

    Raises
    ------
    ParameterError
        When there is none, or more than one to choose from.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        problem = Problem("", "there is no such file or directory")
        raise ParameterError([problem], str(path))
    found = sorted(path.glob("*.toml"))
    if path / PARAMS_NAME in found:
        return path / PARAMS_NAME
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found)
    problem = Problem(
        "",
        f"several parameter files ({names}): name the one to use"
        if found
        else f"no parameter file: `pystack3d-dask init {path}` writes one",
    )
    raise ParameterError([problem], str(path))


def load_pipeline(path: Path, *, steps: Sequence[str] | None = None) -> Pipeline:
    """Read a project; see `Pipeline.from_toml`."""
    params = find_params(path)
    content = _parse(params)
    problems: list[Problem] = []
    cleaned = _cleaned(content, problems)
    tables = {key: value for key, value in cleaned.items() if isinstance(value, dict)}
    top = {key: value for key, value in cleaned.items() if key not in tables}
    settings = _validated(TypeAdapter(Settings), top, "", problems)
    names = _selected(top.get("process_steps"), steps, problems)
    built = _build_steps(names, tables, problems)
    source = None
    directory = params.parent.resolve()
    if settings is not None:
        directory = (params.parent / (settings.project_dir or ".")).resolve()
        source = _open_source(directory, settings, problems)
    if settings is not None and source is not None:
        specs = [replace(spec, precision=settings.precision) for spec in source.specs]
        problems += check_steps(built, specs)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or settings is None or source is None:
        raise ParameterError(errors, str(params))
    return Pipeline(
        source=source,
        steps=tuple(built),
        precision=settings.precision,
        directory=directory,
        keep=settings.keep,
        workers=settings.nproc,
        parameters=content,
        notes=tuple(problems),
    )


def build_step(name: str, parameters: Mapping[str, Any]) -> Step:
    """Return a step from its parameters, checked like those of a file.

    Raises
    ------
    ParameterError
        With every parameter that is wrong.
    """
    problems: list[Problem] = []
    built = _build_steps([name], {name: parameters}, problems)
    if problems:
        raise ParameterError(problems)
    return built[0]


def _parse(params: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(params.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError([Problem("", f"not valid TOML: {error}")], str(params)) from None
    except OSError as error:
        raise ParameterError([Problem("", f"cannot be read: {error}")], str(params)) from None


def _cleaned(content: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Return the content with today's names, and without empty strings."""
    cleaned: dict[str, Any] = {}
    for key, value in content.items():
        if key in DEPRECATED:
            now = DEPRECATED[key]
            problems.append(
                Problem(key, f"deprecated and ignored, {now} is the key now", "warning")
            )
        elif key == "channels" and value == "":
            cleaned[key] = ["."]
        elif isinstance(value, dict):
            cleaned[key] = _without_empty(key, value, problems)
        else:
            cleaned.update(_without_empty("", {key: value}, problems))
    return cleaned


def _without_empty(
    table: str, values: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Any]:
    for key in (key for key, value in values.items() if value == ""):
        path = f"{table}.{key}" if table else key
        problems.append(Problem(path, 'the empty string is taken as "not set"', "warning"))
    return {key: value for key, value in values.items() if value != ""}


def _selected(listed: Any, wanted: Sequence[str] | None, problems: list[Problem]) -> list[str]:
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return []  # the settings say what is wrong with it
    for name in sorted({name for name in listed if listed.count(name) > 1}):
        problems.append(Problem("process_steps", f"{name!r} is listed twice; once is possible"))
    if wanted is None:
        return list(dict.fromkeys(listed))
    for name in wanted:
        if name not in listed:
            known = ", ".join(listed) or "none"
            problems.append(Problem("process_steps", f"{name!r} is not among them ({known})"))
    return [name for name in listed if name in wanted]


def _build_steps(
    names: Sequence[str], tables: Mapping[str, Any], problems: list[Problem]
) -> list[Step]:
    built = []
    for index, name in enumerate(names):
        step = registry().get(name)
        if step is None:
            message = f"there is no correction {name!r}{_suggestion(name, registry())}"
            problems.append(Problem(f"process_steps[{index}]", message))
            continue
        made = _validated(TypeAdapter(step), tables.get(name, {}), name, problems)
        if made is not None:
            built.append(made)
    return built


def _validated(
    adapter: TypeAdapter[Any], values: Mapping[str, Any], table: str, problems: list[Problem]
) -> Any:
    try:
        return adapter.validate_python(dict(values))
    except ValidationError as error:
        names = [name for name in adapter.json_schema().get("properties", {})]
        problems += [_problem(details, table, names) for details in error.errors()]
        return None


def _problem(details: Any, table: str, names: Sequence[str]) -> Problem:
    name, *rest = details["loc"]
    # pydantic adds the members of a union that it tried; indices and our names are what counts
    keys = [name, *(key for key in rest if isinstance(key, int) or key in names)]
    path = table
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
    if details["type"] == "extra_forbidden":
        return Problem(path, f"unknown parameter{_suggestion(str(name), names)}")
    if details["type"] == "missing":
        return Problem(path, "missing")
    message = details["msg"]
    return Problem(path, f"{message[:1].lower()}{message[1:]}, found {details['input']!r}")


def _suggestion(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"


def _open_source(directory: Path, settings: Settings, problems: list[Problem]) -> Source | None:
    try:
        source = open_source(directory, channels=settings.channels, samples=settings.samples)
    except SourceError as error:
        problems.append(Problem("channels", str(error)))
        return None
    count = source.specs[0].shape[0]
    last = count - 1 if settings.ind_max is None else min(settings.ind_max, count - 1)
    first = max(settings.ind_min, 0)
    if first > last:
        problems.append(
            Problem(
                "ind_min",
                f"no slice is kept: ind_min = {settings.ind_min}, ind_max = {settings.ind_max}, "
                f"and there are {count} slices, 0 to {count - 1}",
            )
        )
        return None
    return source if (first, last) == (0, count - 1) else source.selected(first, last + 1)
