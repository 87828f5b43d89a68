"""What ``import pystack3d_dask as ps`` offers."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pystack3d_dask as ps
from pystack3d_dask.core.registry import registry

SCRIPT = """\
from typing import Any

from numpy.typing import NDArray
import pystack3d_dask as ps

stack = ps.open_stack("my_stack")
background = ps.BackgroundRemoval(orders=(1, 2, 1), skip_factors=(4, 4, 4))
flat = ps.correct(stack, background, fit=ps.fit(stack, background))
stripes = [ps.Gabor(noise_level=20, sigma=(1, 30)), ps.Dirac(noise_level=1)]
clean = ps.to_source_type(ps.correct(flat, ps.Destriping(filters=stripes, maxit=50)))
values: NDArray[Any] = clean.values
"""
MISTAKES = {
    "noise_levle=20": ("noise_level=20", '"noise_levle" for "Gabor"'),
    "ordres=(1, 2, 1)": ("orders=(1, 2, 1)", '"ordres" for "BackgroundRemoval"'),
    'maxit="50"': ("maxit=50", 'Argument "maxit" to "Destriping"'),
    "fits=": ("fit=", '"fits" for "correct"'),
}


def test_every_correction_is_exported():
    exported = {value for value in map(vars(ps).get, dir(ps)) if inspect.isclass(value)}
    exported |= {getattr(ps, name) for name in dir(ps)}
    ours = [step for step in registry().values() if step.__module__.startswith("pystack3d_dask.")]
    assert len(ours) >= 13
    assert exported.issuperset(ours)


@pytest.mark.parametrize("name", dir(ps))
def test_every_name_is_documented(name):
    value = getattr(ps, name)
    doc = inspect.getdoc(value) or ""
    assert doc.split("\n")[0].endswith((".", ";")), doc
    if inspect.isfunction(value):
        kinds = [each.kind for each in inspect.signature(value).parameters.values()]
        assert inspect.Parameter.VAR_KEYWORD not in kinds
        assert "Parameters\n---" in doc or not kinds
    if inspect.isclass(value) and issubclass(value, ps.Step) and value is not ps.CroppingFinal:
        assert "Parameters\n---" in doc


@pytest.mark.parametrize("name", dir(ps))
def test_examples_of_the_documentation_run(name):
    value = getattr(ps, name)
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return
    finder = doctest.DocTestFinder(recurse=False)
    for example in finder.find(value, name, globs={name: value}):
        failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
        assert not failed


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="destripe"):
        ps.destripe  # noqa: B018
    assert "numpy" not in dir(ps)
    assert ps.__version__


def test_importing_it_imports_neither_xarray_nor_pydantic_nor_dask():
    heavy = "{'xarray', 'pydantic', 'dask', 'zarr', 'numba', 'scipy', 'matplotlib'}"
    code = f"import sys, pystack3d_dask; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_lists_and_arrays_are_parameters_like_tuples():
    given = ps.BackgroundRemoval(orders=[1, 2, 1], skip_factors=np.array([4, 4, 4]))
    assert given == ps.BackgroundRemoval(orders=(1, 2, 1), skip_factors=(4, 4, 4))
    assert hash(given) == hash(ps.BackgroundRemoval(orders=(1, 2, 1), skip_factors=(4, 4, 4)))


def test_filters_in_python_are_those_of_a_parameter_file():
    stack = xr.DataArray(
        np.arange(2 * 20 * 20, dtype="u1").reshape(2, 20, 20), dims=("z", "y", "x")
    )
    table = {"name": "Gabor", "noise_level": 20, "sigma": [1, 5]}
    found, expected = (
        ps.correct(stack, ps.Destriping(filters=[each], maxit=3))
        for each in (ps.Gabor(noise_level=20, sigma=(1, 5)), table)
    )
    np.testing.assert_array_equal(found, expected)


def type_check(script: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Check a user's script as strictly as mypy can; most libraries are not looked into."""
    script.write_text(text)
    directory, settings = script.parent, Path(__file__).parents[1] / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--strict", script.name]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_a_script_of_a_user_can_be_type_checked(tmp_path):
    done = type_check(tmp_path / "script.py", SCRIPT)
    assert done.returncode == 0, done.stdout
    for k, (wrong, (right, expected)) in enumerate(MISTAKES.items()):
        assert right in SCRIPT
        # each has a file of its own: mypy takes one of the same size and second for unchanged
        done = type_check(tmp_path / f"mistake_{k}.py", SCRIPT.replace(right, wrong))
        assert done.returncode == 1
        assert expected in done.stdout, wrong
