"""Corrections of exposure as functions on lazy arrays, and in the engine."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import textured
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stacks import images, make_project

import pystack3d_dask as ps
from pystack3d_dask.errors import ParameterError, StackError

SHAPE = (7, 24, 30)
MICROMETERS = {"units": "micrometer"}
FITTED = {
    "percentiles": ps.PercentileClipping(percentiles=(2, 95)),
    "equalization": ps.Equalization(),
    "clahe": ps.CLAHE(size=(10, 8, 3)),
}
ALONE = {
    "gamma": ps.Gamma(gamma=0.6, in_range=(10, 200)),
    "percentiles": ps.PercentileClipping(scope="slice"),
    "equalization": ps.Equalization(scope="slice"),
    "clahe": ps.CLAHE(scope="slice", size=(10, 8)),
}


def stack(dtype: str = "uint8") -> xr.DataArray:
    values = textured(SHAPE, "uint8" if dtype == "uint8" else "uint16").astype(dtype)
    return xr.DataArray(values, dims=("z", "y", "x"))


def corrections(images: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return what every correction makes of a stack, lazily."""
    found = {f"{name}, stack": fitted(images, step) for name, step in FITTED.items()}
    return found | {name: ps.correct(images, step) for name, step in ALONE.items()}


def fitted(images: xr.DataArray, correction: ps.Step) -> xr.DataArray:
    """Fit a correction to a stack, and apply it there."""
    return ps.correct(images, correction, fit=ps.fit(images, correction))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_chunking_changes_a_value(dtype, data):
    def cut(size: int) -> tuple[int, ...]:
        edges = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=3)))
        return tuple(np.diff([0, *edges, size]).tolist())

    whole = stack(dtype)
    chunked = whole.chunk({name: cut(size) for name, size in whole.sizes.items()})
    expected = corrections(whole)
    for name, found in corrections(chunked).items():
        np.testing.assert_array_equal(found, expected[name], err_msg=name)


def test_applying_computes_nothing():
    fits = [ps.fit(stack(), correction) for correction in FITTED.values()]
    lazy = stack().chunk({"z": 2})

    def refuse(*_: object, **__: object) -> None:
        message = "something was computed"
        raise AssertionError(message)

    with dask.config.set(scheduler=refuse):
        found = [ps.correct(lazy, fit.correction, fit=fit) for fit in fits]
        found += [ps.correct(lazy, correction) for correction in ALONE.values()]
    assert all(isinstance(each.data, da.Array) and each.shape == SHAPE for each in found)
    assert {each.dtype for each in found} == {np.dtype("float32")}


def test_a_slice_by_itself_is_not_changed_by_the_others():
    for name, correction in ALONE.items():
        found = ps.correct(stack(), correction)[3:4]
        np.testing.assert_array_equal(found, ps.correct(stack()[3:4], correction), err_msg=name)


def test_a_tile_in_micrometers_uses_the_coordinates():
    placed = stack().assign_coords(
        z=("z", np.arange(7) * 0.5, MICROMETERS),
        y=("y", np.arange(24) * 0.2, MICROMETERS),
        x=("x", np.arange(30) * 0.1, MICROMETERS),
    )
    in_um = fitted(placed, ps.CLAHE(size=(1, 1.6, 1.5), size_unit="um"))
    expected = fitted(stack(), ps.CLAHE(size=(10, 8, 3)))
    np.testing.assert_array_equal(in_um, expected)


def test_floats_stay_between_black_and_white():
    for name, found in corrections(stack("float32") / np.float32(1e4)).items():
        if name != "gamma":
            assert 0 <= found.min() < 0.1, name
            assert 0.6 < found.max() <= 1, name


def test_wrong_parameters_are_named():
    with pytest.raises(ParameterError, match=r"gamma\.gamma: 0\.01 to 100 expected, found 0\.0"):
        ps.correct(stack(), ps.Gamma(gamma=0))
    with pytest.raises(ParameterError, match=r"clahe\.scope"):
        ps.fit(stack(), ps.CLAHE(scope="row"))
    with pytest.raises(StackError, match="CLAHE needs no fit"):
        ps.fit(stack(), ps.CLAHE(scope="slice"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_steps_and_functions_agree_value_for_value(tmp_path, dtype):
    values = images((12, 40, 50), dtype)
    steps = {
        "percentile_clipping": {"percentiles": [1, 99]},
        "gamma": {"gamma": 0.7, "in_range": [0, 1] if dtype == "float32" else [0, 200]},
        "clahe": {"size": [20, 20, 4], "range_bins": [0, 1] if dtype == "float32" else [0, 200]},
        "equalization": {},
    }
    project = make_project(tmp_path / "project", steps, values)
    ps.Pipeline.from_toml(project).run()
    found = xr.DataArray(values, dims=("z", "y", "x"))
    found = fitted(found, ps.PercentileClipping(**steps["percentile_clipping"]))
    found = ps.correct(found, ps.Gamma(**steps["gamma"]))
    found = fitted(found, ps.CLAHE(**steps["clahe"]))
    found = fitted(found, ps.Equalization())
    result = ps.open_result(project)
    assert result.dtype == dtype
    np.testing.assert_array_equal(ps.to_source_type(found), result[0])
    assert np.ptp(result.values) > 0.9 * (1 if dtype == "float32" else np.iinfo(dtype).max)
