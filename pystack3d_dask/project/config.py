"""Parameter files to projects: TOML in, checked objects out, every mistake named at once.

PyStack3D's files are read unchanged, with its deprecated keys and its empty strings for
"not set".
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from pystack3d_dask.core.geometry import assumptions, limits_of_metadata
from pystack3d_dask.core.registry import registry
from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.step import Step
from pystack3d_dask.errors import ParameterError, Problem
from pystack3d_dask.io.source import Source
from pystack3d_dask.kernels.padding import beside
from pystack3d_dask.project.bad_content import with_bad_content
from pystack3d_dask.project.project import Project, check_steps
from pystack3d_dask.project.record import Workspace
from pystack3d_dask.project.settings import Settings
from pystack3d_dask.project.slices import mended_slices, open_slices

PARAMS_NAME = "params.toml"
LONGEST = 16 * 2**20  # characters; a million positions of slices take less
DEEPEST = 8  # lists and tables inside each other; those of corrections are four
DOTTED = re.compile(  # a key of tables inside each other; tomllib takes the square of their number
    r"""(?:(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}"""
)
TOO_DEEP = f"lists and tables at most {DEEPEST} deep inside each other expected"
DEPRECATED = ("dirname", "input_dirname")  # of project_dir, in this order
RENAMED = {"equalisation": "equalization"}  # corrections of earlier versions
WHERE = {"channels", "project_dir", "samples"}  # without them no slices can be opened
EXPECTED = {
    "tuple_type": "a list",
    "list_type": "a list",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "dataclass_type": "a table",
}
EXPECTS = " expected, found "
UNION_MEMBERS = ("float",)  # whose names are not told from those of parameters
SHOWN = 200  # characters of a wrong value
UNKNOWN = StackSpec(  # stands for slices that cannot be opened: whatever may fit, fits
    shape=(99999, 99999, 99999),
    dtype=np.dtype(np.uint8),
    source_dtype=np.dtype(np.uint8),
    z=(),
    pixel_size=(1.0, 1.0),
)


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
    found = sorted(file for file in path.glob("*.toml") if file.is_file())
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


def load_project(path: Path, *, steps: Sequence[str] | None = None) -> Project:
    """Read a project; see `Pipeline.from_toml`."""
    params = find_params(path)
    return make_project(
        _parse(params), params.parent, str(params), is_directory=path.is_dir(), steps=steps
    )


def make_project(
    content: Mapping[str, Any],
    beside: Path,
    origin: str,
    *,
    is_directory: bool = True,
    steps: Sequence[str] | None = None,
    corrections: Sequence[Step] | None = None,
) -> Project:
    """Return the project that parameters make.

    Parameters
    ----------
    content : mapping
        As TOML has them.
    beside : Path
        Directory of the slices, or that ``project_dir`` starts from.
    origin : str
        Where the parameters come from, for messages.
    is_directory : bool
        Whether the directory was named, not the file: then old names of it do not count.
    steps : sequence of str, optional
        Only these of ``process_steps``.
    corrections : sequence of Step, optional
        The corrections that ``content`` names, where they are made already.

    Raises
    ------
    ParameterError
        With everything that is wrong in the parameters and in the headers of the slices.
    """
    problems: list[Problem] = []
    cleaned = _cleaned(content, is_directory, problems)
    tables = _tables(cleaned, problems) if corrections is None else _only_tables(cleaned)
    top = {key: value for key, value in cleaned.items() if key not in tables}
    settings, wrong = _settings(top, problems)

    def make(name: str, set_here: dict[str, Any]) -> Step | None:
        made = _build_steps([name], {name: tables.get(name, {}) | set_here}, problems)
        return made[0] if made else None

    names = _selected(top.get("process_steps"), steps, problems)
    built = _build_steps(names, tables, problems) if corrections is None else [*corrections]
    if steps is None:
        built = with_bad_content(built, settings.bad_content, make, problems)
    directory = _directory(beside, settings.project_dir, problems)
    source = found = None
    if directory is not None and not wrong & WHERE:
        source = open_slices(directory, settings, problems)
    unread = set(names) - {step.name for step in built}
    checked = _checked(built, source, settings, unread)
    if directory is not None and source is not None and not _errors([*problems, *checked]):
        workspace = Workspace(directory / "process")
        source, found = mended_slices(source, settings, workspace, problems)
        checked = _checked(built, source, settings, unread)
    problems += checked
    if settings.dither and settings.precision == "source":
        message = 'true is for precision = "float32"; "source" truncates after each correction'
        problems.append(Problem("dither", message))
    problems += _check_fill(settings, UNKNOWN if source is None else source.specs[0])
    if _errors(problems) or source is None or directory is None:
        raise _refusal(_errors(problems), origin, directory)
    project = Project(
        source=source,
        steps=tuple(built),
        precision=settings.precision,
        dither=settings.dither,
        fill=tuple(sorted(set(settings.fill))),
        directory=directory,
        keep=settings.keep,
        workers=settings.nproc,
        gpu_use=settings.gpu,
        voxel_size=settings.voxel_size,
        parameters=dict(content),
        notes=tuple(problems),
        scan=found,
    )
    end = project.chains()[0].levels[-1]
    warnings = (Problem("voxel_size", each, "warning") for each in assumptions(end))
    notes = (Problem("", each, "note") for each in limits_of_metadata(end))
    return replace(project, notes=(*problems, *warnings, *notes))


def _check_fill(settings: Settings, spec: StackSpec) -> Iterator[Problem]:
    """Yield what is wrong with the gray levels of padding."""
    if settings.fill and settings.precision == "source":
        message = 'is for precision = "float32": with "source", all pixels are image'
        yield Problem("fill", message)
    ends = np.iinfo(spec.source_dtype) if spec.is_integer else np.finfo(np.float32)
    for level in settings.fill:
        if not ends.min <= level <= ends.max or np.isinf(np.float32(beside(level))):
            message = f"gray levels of {spec.source_dtype} go from {ends.min} to {ends.max}"
        elif spec.is_integer and not float(level).is_integer():
            message = f"gray levels of {spec.source_dtype} are whole numbers"
        elif spec.is_integer and float(np.float32(level)) != level:
            message = "a gray level that single precision holds expected"
        else:
            continue
        yield Problem("fill", f"{message}; found {level:g}")


def _refusal(errors: Sequence[Problem], origin: str, directory: Path | None) -> ParameterError:
    """Return the error: the parameter file is not blamed where the slices alone are at fault."""
    if {problem.path for problem in errors} == {str(directory)}:
        return ParameterError([replace(each, path="") for each in errors], str(directory))
    return ParameterError(errors, origin)


def _checked(
    steps: Sequence[Step], source: Source | None, settings: Settings, unread: set[str]
) -> list[Problem]:
    """Return what is wrong with the steps for these slices, or for any if there are none."""
    specs = [UNKNOWN] if source is None else source.specs
    return check_steps(
        steps,
        [replace(spec, precision=settings.precision) for spec in specs],
        None if source is None else source.channels,
        unread=unread,
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


def checked_step(step: Step) -> Step:
    """Return a step that was made in Python as a file would have made it.

    Raises
    ------
    ParameterError
        With every parameter whose type is wrong.
    """
    return checked_steps([step])[0]


def checked_steps(steps: Sequence[Step]) -> list[Step]:
    """Return steps that were made in Python as a file would have made them.

    Raises
    ------
    ParameterError
        With every parameter whose type is wrong, and what is no step.
    """
    problems: list[Problem] = []
    built = []
    for index, step in enumerate(steps):
        if not isinstance(step, Step):
            expected = "a correction such as Cropping(area=(0, 500, 0, 400)) expected"
            problems.append(Problem(f"corrections[{index}]", f"{expected}, found {step!r}"))
            continue
        built.append(_validated(TypeAdapter(type(step)), asdict(step), step.name, problems))
    if problems:
        raise ParameterError(problems)
    return built


def _errors(problems: Sequence[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


def _parse(params: Path) -> dict[str, Any]:
    try:
        with params.open(encoding="utf-8-sig") as file:
            text = file.read(LONGEST + 1)
        message = _unparsable(text)
        content = {} if message else tomllib.loads(text)
        json.dumps(content, default=str)  # as it is checked and recorded
        if _is_deeper(content, DEEPEST):
            message = TOO_DEEP
    except UnicodeDecodeError as error:
        message = f"not a text file in UTF-8, as TOML has to be: {error}"
    except OSError as error:
        message = f"cannot be read: {error}"
    except RecursionError:
        message = TOO_DEEP
    except ValueError as error:  # of TOML's syntax, or integers of thousands of digits
        message = f"not valid TOML: {error}"
    if message:
        raise ParameterError([Problem("", message)], str(params))
    return content


def _unparsable(text: str) -> str:
    """Return why a text would take too long to parse, if it would."""
    if len(text) > LONGEST:
        return f"at most {LONGEST} characters expected, there are more"
    return TOO_DEEP if DOTTED.search(text) else ""


def _is_deeper(value: Any, most: int) -> bool:
    """Return whether lists and tables lie more than so deep inside each other."""
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_is_deeper(each, most - 1) for each in inside)


def _cleaned(
    content: Mapping[str, Any], is_directory: bool, problems: list[Problem]
) -> dict[str, Any]:
    """Return the content with today's names, and without empty strings."""
    cleaned: dict[str, Any] = {}
    for key, value in _renamed(content, problems).items():
        if key in DEPRECATED:
            continue
        if key == "channels" and value == "":
            cleaned[key] = ["."]
        elif isinstance(value, dict):
            cleaned[key] = _without_empty(key, value, problems)
        else:
            cleaned.update(_without_empty("", {key: value}, problems))
    for key in DEPRECATED:
        if key in content:
            _replace_deprecated(key, content[key], cleaned, is_directory, problems)
    return cleaned


def _renamed(content: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Return the content with today's names of corrections."""
    renamed = {RENAMED.get(key, key): value for key, value in content.items()}
    listed = renamed.get("process_steps")
    if isinstance(listed, list):
        renamed["process_steps"] = [_new_name(each) for each in listed]
    for old, new in RENAMED.items():
        if old in content or (isinstance(listed, list) and old in listed):
            problems.append(Problem(old, f"deprecated and taken as {new}", "note"))
    return renamed


def _new_name(step: Any) -> Any:
    return RENAMED.get(step, step) if isinstance(step, str) else step


def _replace_deprecated(
    key: str, value: Any, cleaned: dict[str, Any], is_directory: bool, problems: list[Problem]
) -> None:
    """Take an old key for ``project_dir`` where PyStack3D did: when it was given the file."""
    if is_directory or value == "" or "project_dir" in cleaned:
        why = "and ignored: the project is the directory given" if is_directory else "and ignored"
    else:
        cleaned["project_dir"] = value
        why = "and taken as project_dir"
    problems.append(Problem(key, f"deprecated {why}; use project_dir", "note"))


def _tables(cleaned: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Return the tables; takes what should be one and is not out of ``cleaned``."""
    for name in [key for key in cleaned if key in registry()]:
        if not isinstance(cleaned[name], dict):
            found = _shown(cleaned.pop(name))
            problems.append(Problem(name, f"a table, [{name}], expected, found {found}"))
    tables = _only_tables(cleaned)
    for name in tables:
        if name not in registry():
            message = f"belongs to no correction and is ignored{_suggestion(name, registry())}"
            problems.append(Problem(name, message, "warning"))
    return tables


def _only_tables(cleaned: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cleaned.items() if isinstance(value, dict)}


def _settings(top: Mapping[str, Any], problems: list[Problem]) -> tuple[Settings, set[str]]:
    """Return the settings, and which are wrong: those have their defaults."""
    found: list[Problem] = []
    settings = _validated(TypeAdapter(Settings), top, "", found)
    wrong = {problem.path.split("[")[0] for problem in found}
    if settings is None:
        valid = {key: value for key, value in top.items() if key not in wrong}
        settings = Settings.model_construct(**({"process_steps": ()} | valid))
    problems += found
    return settings, wrong


def _without_empty(
    table: str, values: Mapping[str, Any], problems: list[Problem]
) -> dict[str, Any]:
    for key in (key for key, value in values.items() if value == ""):
        path = f"{table}.{key}" if table else key
        problems.append(Problem(path, 'the empty string is taken as "not set"', "note"))
    return {key: value for key, value in values.items() if value != ""}


def _selected(listed: Any, wanted: Sequence[str] | None, problems: list[Problem]) -> list[str]:
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return []  # the settings say what is wrong with it
    for name in sorted({name for name in listed if listed.count(name) > 1}):
        problems.append(Problem("process_steps", f"{name!r} is listed twice; once is possible"))
    if wanted is None:
        return list(dict.fromkeys(listed))
    wanted = [_new_name(name) for name in wanted]
    for name in wanted:
        if name not in listed:
            known = ", ".join(listed) or "none"
            message = f"{name!r} is not one of process_steps ({known})"
            problems.append(Problem("steps asked for", message))
    return [name for name in listed if name in wanted]


def _build_steps(
    names: Sequence[str], tables: Mapping[str, Any], problems: list[Problem]
) -> list[Step]:
    built = []
    for index, name in enumerate(names):
        step = registry().get(name)
        if step is None:
            known = _suggestion(name, registry())
            message = f"no correction {_cut(repr(name))} in this version{known}"
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
        # as JSON: checked strictly, Python's lists would be no tuples
        return adapter.validate_json(json.dumps(_plain(values)), strict=True)
    except ValidationError as error:
        names = list(adapter.json_schema().get("properties", {}))
        found = {
            (details["type"], problem.path): problem
            for details in error.errors()
            for problem in [_problem(details, table, names)]
        }
        problems += _merged([*found.values()])
        return None


def _merged(problems: Sequence[Problem]) -> list[Problem]:
    """Return one problem for a value that is none of what it may be."""
    merged: list[Problem] = []
    inside = {each.path.partition("[")[0] for each in problems if "[" in each.path}
    for problem in problems:
        if problem.path in inside:
            continue  # a list is right, but for an element
        before = merged[-1] if merged else None
        if before and before.path == problem.path and EXPECTS in problem.message:
            wanted, is_wrong, _ = before.message.partition(EXPECTS)
            if is_wrong:
                problem = replace(problem, message=f"{wanted} or {problem.message}")
                merged.pop()
        merged.append(problem)
    return merged


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; whole numbers written as floats, 1e7, are whole numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _problem(details: Any, table: str, names: Sequence[str]) -> Problem:
    name, *rest = details["loc"]
    # pydantic adds the members of a union that it tried; indices and names are what counts
    keys = [name, *(key for key in rest if isinstance(key, int) or _is_name(key))]
    path = table
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
    kind, context, found = details["type"], details.get("ctx", {}), _shown(details["input"])
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        hint = "" if rest else _suggestion(str(name), names)
        return Problem(path, f"unknown parameter{hint}")
    if kind == "missing" and isinstance(keys[-1], int):
        path = path.rpartition("[")[0]
        return Problem(path, f"{keys[-1] + 1} values{EXPECTS}{found}")
    if kind == "missing":
        return Problem(path, "missing")
    if kind == "too_long":
        return Problem(path, f"{context['max_length']} values{EXPECTS}{found}")
    if kind == "tuple_type" and not table and isinstance(details["input"], str):
        return Problem(path, f"a list expected, such as [{found}], found {found}")
    if kind == "literal_error":
        return Problem(path, f"{context['expected']}{EXPECTS}{found}")
    if kind in EXPECTED:
        return Problem(path, f"{EXPECTED[kind]}{EXPECTS}{found}")
    message = details["msg"]
    return Problem(path, f"{message[:1].lower()}{message[1:]}, found {found}")


def _is_name(key: str) -> bool:
    return key.isidentifier() and key not in UNION_MEMBERS


def _shown(value: Any) -> str:
    """Return a value as TOML has it, nearly, and cut if it is long."""
    return _cut(json.dumps(value, ensure_ascii=False, default=str))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _suggestion(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"


def _directory(beside: Path, project_dir: str | None, problems: list[Problem]) -> Path | None:
    """Return the directory of the project, which may be anywhere; None if there is none."""
    directory = Path(os.path.realpath(beside))
    if project_dir is None:
        return directory
    try:
        directory = Path(os.path.realpath(beside / project_dir))
        if directory.is_dir():
            return directory
        message = f"there is no such directory: {directory}"
    except (OSError, ValueError) as error:  # names that are too long, or with null characters
        message = f"{_shown(project_dir)} is no directory: {getattr(error, 'strerror', error)}"
    problems.append(Problem("project_dir", message))
    return None
