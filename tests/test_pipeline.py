"""Pipelines that are made in Python: the same as those of parameter files."""

from __future__ import annotations

import tomllib

import dask.array as da
import numpy as np
import pytest
import tifffile
import xarray as xr
from stacks import images, write_slices

import pystack3d_dask as ps

VALUES = images((12, 40, 50))
MICROMETERS = {"units": "micrometer"}
CORRECTIONS = [
    ps.Cropping(area=(2, 48, 1, 37)),
    ps.BackgroundRemoval(orders=(1, 1, 1), skip_factors=(3, 3, 2)),
    ps.Destriping(
        filters=[ps.Gabor(noise_level=20, sigma=(1, 10)), ps.Dirac(noise_level=1)], maxit=3
    ),
    ps.Gamma(gamma=0.8),
]


@pytest.fixture
def directory(tmp_path):
    """Return a directory with slices and no parameter file."""
    write_slices(tmp_path / "my_stack", VALUES)
    return tmp_path / "my_stack"


def stack() -> xr.DataArray:
    return xr.DataArray(
        VALUES,
        dims=("z", "y", "x"),
        coords={
            "z": ("z", np.array([0.0, 0.01, 0.03, *np.arange(4, 13) * 0.01]), MICROMETERS),
            "y": ("y", np.arange(40) * 0.005, MICROMETERS),
            "x": ("x", np.arange(50) * 0.004, MICROMETERS),
        },
    )


def corrected(stack: xr.DataArray, corrections=CORRECTIONS) -> np.ndarray:
    """Return what the functions on arrays make of a stack."""
    for each in corrections:
        fit = ps.fit(stack, each) if each.fit_scope == "stack" else None
        stack = ps.correct(stack, each, fit=fit)
    return ps.to_source_type(stack).values


def test_it_runs_on_a_directory_without_a_parameter_file(directory):
    ps.Pipeline(CORRECTIONS).run(directory)
    np.testing.assert_array_equal(ps.open_result(directory)[0], corrected(stack()))
    assert not list(directory.glob("*.toml"))


def test_it_runs_on_an_array_of_dask_and_keeps_positions(tmp_path):
    array = stack().chunk({"z": 5, "y": 17})
    pipeline = ps.Pipeline(CORRECTIONS)
    pipeline.run(array, directory=tmp_path / "new" / "one")
    result = ps.open_result(tmp_path / "new" / "one")
    np.testing.assert_array_equal(result[0], corrected(stack()))
    np.testing.assert_allclose(result.z, array.z)
    np.testing.assert_allclose(np.diff(result.x), 0.004)
    assert pipeline.on(array, tmp_path / "new" / "one").is_done()


def test_channels_of_an_array_keep_their_names(tmp_path):
    both = xr.concat([stack(), stack()[::-1].assign_coords(z=stack().z)], "c")
    both = both.assign_coords(c=["ESB", "SE2"])
    ps.Pipeline([ps.Gamma(gamma=0.5)]).run(both, directory=tmp_path)
    result = ps.open_result(tmp_path)
    assert list(result.c.values) == ["ESB", "SE2"]
    np.testing.assert_array_equal(result.sel(c="SE2"), result.sel(c="ESB")[::-1].values)


def test_another_array_takes_the_place_of_the_one_before(tmp_path):
    pipeline = ps.Pipeline([ps.Gamma(gamma=0.5)])
    for array in (stack(), stack()[:, ::-1].assign_coords(y=stack().y)):
        pipeline.run(array, directory=tmp_path)
        expected = corrected(array, [ps.Gamma(gamma=0.5)])
        np.testing.assert_array_equal(ps.open_result(tmp_path)[0], expected)


def test_an_array_is_not_computed_again_for_the_same_directory(tmp_path):
    computed = []

    def slab(block_info=None):
        (where,) = {tuple(each["array-location"]) for each in block_info.values()}
        computed.append(where)
        return VALUES[slice(*where[0])]

    data = da.map_blocks(
        slab, chunks=((6, 6), (40,), (50,)), dtype=np.uint8, meta=np.empty((0, 0, 0), "u1")
    )
    array = xr.DataArray(data, dims=("z", "y", "x"))
    pipeline = ps.Pipeline([ps.Gamma(gamma=0.5)])
    pipeline.run(array, directory=tmp_path)
    assert len(computed) == 2
    pipeline.run(array, directory=tmp_path)
    assert len(computed) == 2


def test_an_array_needs_a_directory_that_is_free(tmp_path, directory):
    pipeline = ps.Pipeline(CORRECTIONS)
    with pytest.raises(ps.StackError, match="an array needs a directory"):
        pipeline.run(stack())
    with pytest.raises(ps.StackError, match="has slices of its own: name another directory"):
        pipeline.run(stack(), directory=directory)
    (tmp_path / "stack.zarr").mkdir()
    with pytest.raises(ps.StackError, match="something else than an array that was written there"):
        pipeline.run(stack(), directory=tmp_path)
    with pytest.raises(ps.StackError, match="the result goes to"):
        pipeline.run(directory, directory=tmp_path)


def test_the_parameter_file_that_it_writes_makes_the_same_pipeline(directory):
    pipeline = ps.Pipeline(CORRECTIONS, precision="source", ind_min=2, keep=(), gpu="off")
    text = pipeline.to_toml(directory / "params.toml")
    assert (directory / "params.toml").read_text() == text
    opened = ps.Pipeline.from_toml(directory)
    assert opened.corrections == pipeline.corrections
    assert tomllib.loads(opened.to_toml()) == tomllib.loads(text)
    assert opened == pipeline.on(directory)
    assert opened.project.tokens == pipeline.on(directory).project.tokens
    assert (opened.project.precision, opened.project.keep) == ("source", ())


def test_an_empty_chain_is_a_pipeline_too(directory):
    ps.Pipeline([]).run(directory)
    np.testing.assert_array_equal(ps.open_result(directory)[0], VALUES)
    assert ps.Pipeline([]).to_toml() == "process_steps = []\n"


def test_without_a_stack_it_says_how_to_give_it_one():
    pipeline = ps.Pipeline(CORRECTIONS)
    assert repr(pipeline) == "<Pipeline: cropping, bkg_removal, destriping, gamma>"
    for method in (pipeline.plan, pipeline.run, pipeline.preview, pipeline.lazy, pipeline.clean):
        with pytest.raises(ps.StackError, match=r'pipeline\.on\("my_stack"\) gives it one'):
            method()


def test_on_a_stack_it_is_planned_and_looked_at(directory):
    pipeline = ps.Pipeline(CORRECTIONS).on(directory)
    assert len(pipeline.plan().passes) == 2
    assert pipeline.preview(z=5, step="cropping").after.shape == (1, 36, 46)
    assert not (directory / "process").exists()


def test_wrong_corrections_are_named_all_at_once(directory):
    with pytest.raises(ps.ParameterError) as caught:
        ps.Pipeline([ps.Gamma(gamma="bright"), "cropping", ps.Cropping(area=(1, 2))])
    assert [problem.path for problem in caught.value.problems] == [
        "gamma.gamma",
        "corrections[1]",
        "cropping.area",
    ]
    with pytest.raises(ps.ParameterError, match=r"cropping\.area: .*selects nothing"):
        ps.Pipeline([ps.Cropping(area=(90, 95, 0, 5))]).on(directory)
    with pytest.raises(ps.ParameterError, match=r"process_steps: 'gamma' is listed twice"):
        ps.Pipeline([ps.Gamma(), ps.Gamma(gamma=0.5)]).on(directory)


def test_wrong_settings_are_named_where_the_stack_is_opened(directory):
    with pytest.raises(ps.ParameterError, match=r"the pipeline on .*\n  precision: 'float32' or"):
        ps.Pipeline([], precision="double").on(directory)
    for path in (directory / "elsewhere", next(directory.glob("*.tif"))):
        with pytest.raises(ps.SourceError, match="a directory with slices expected"):
            ps.Pipeline([]).run(path)


def test_a_single_file_is_a_stack(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", VALUES, photometric="minisblack")
    ps.Pipeline([ps.Gamma(gamma=0.5)]).run(tmp_path)
    expected = corrected(stack(), [ps.Gamma(gamma=0.5)])
    np.testing.assert_array_equal(ps.open_result(tmp_path)[0], expected)
