"""Corrections as functions on DataArrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import xarray as xr
from conftest import textured
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pystack3d_dask as ps
from pystack3d_dask.errors import FitRequiredError, ParameterError, SourceError, StackError

SHAPE = (6, 24, 30)
POLYNOMIAL = ps.BackgroundRemoval(orders=(1, 1, 1), skip_factors=(3, 3, 2))
PER_SLICE = ps.BackgroundRemoval(orders=(1, 1), skip_factors=(3, 3))
LOCAL = ps.BackgroundRemoval(method="local", size=(5, 5, 3))
CROPPING = ps.Cropping(area=(0, 1, 0, 1))
MICROMETERS = {"units": "micrometer"}


@pytest.fixture(scope="module")
def stack() -> xr.DataArray:
    return xr.DataArray(textured(SHAPE), dims=("z", "y", "x"), name="sample")


def two_channels() -> xr.DataArray:
    values = np.stack([textured(SHAPE, seed=seed) for seed in (0, 1)])
    return xr.DataArray(values, dims=("c", "z", "y", "x"), coords={"c": ["ESB", "SE2"]})


def corrected(stack: xr.DataArray) -> xr.DataArray:
    """Apply every correction that there is, each to what the one before leaves."""
    stack = ps.correct(stack, ps.Cropping(area=(1, 29, 2, 22)))
    for correction in (
        POLYNOMIAL,
        ps.IntensityRescalingArea(area=(0, 9, 0, 9)),
        ps.IntensityRescaling(nbins=32, filter_size=3, range_bins=(0, 255)),
    ):
        stack = fitted(stack, correction)
    return ps.to_source_type(stack)


def fitted(stack: xr.DataArray, correction: ps.Step) -> xr.DataArray:
    """Fit a correction to a stack, and apply it there."""
    return ps.correct(stack, correction, fit=ps.fit(stack, correction))


def test_results_are_lazy_and_keep_dims_name_and_type_of_the_acquisition(stack):
    result = corrected(stack)
    assert result.dims == ("z", "y", "x")
    assert result.name == "sample"
    assert result.dtype == np.uint8
    assert result.chunks is not None
    assert result.compute().shape == (6, 20, 28)


def test_values_stay_float_until_they_are_cast(stack):
    flat = fitted(stack, POLYNOMIAL)
    assert flat.dtype == np.float32
    cast = ps.to_source_type(flat)
    expected = np.clip(np.rint(flat.values), 0, 255)
    np.testing.assert_array_equal(cast, expected.astype(np.uint8))


def test_cropping_selects_from_the_bottom_left(stack):
    found = ps.correct(stack, ps.Cropping(area=(2, 7, 3, 9)))
    np.testing.assert_array_equal(found, stack.values[:, 24 - 9 : 24 - 3, 2:7])
    assert found.dtype == np.uint8


def test_input_is_not_changed(stack):
    before = stack.values.copy()
    corrected(stack).compute()
    np.testing.assert_array_equal(stack, before)
    assert "source_dtype" not in stack.attrs


@pytest.mark.parametrize("chunks", [{"z": 1}, {"z": 4, "y": 7, "x": 11}, {}])
def test_chunks_do_not_change_values(stack, chunks):
    np.testing.assert_array_equal(corrected(stack.chunk(chunks)), corrected(stack))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_chunking_changes_a_local_background(stack, data):
    def cut(size: int) -> tuple[int, ...]:
        edges = sorted(data.draw(st.sets(st.integers(1, size - 1), max_size=3)))
        return tuple(np.diff([0, *edges, size]).tolist())

    chunked = stack.chunk({name: cut(size) for name, size in stack.sizes.items()})
    local = ps.BackgroundRemoval(method="local", size=(7, 5, 3), threshold_min=40)
    np.testing.assert_array_equal(fitted(chunked, local), fitted(stack, local))


def test_a_background_per_slice_needs_no_fit_of_its_own(stack):
    found = ps.correct(stack, PER_SLICE)
    alone = ps.correct(stack[2:3], PER_SLICE)
    np.testing.assert_array_equal(found[2:3], alone)
    assert abs(found.values.std()) < stack.values.std()


def test_channels_are_corrected_each_for_itself():
    both = two_channels()
    found = corrected(both)
    assert found.dims == ("c", "z", "y", "x")
    assert list(found.c.values) == ["ESB", "SE2"]
    for name in ("ESB", "SE2"):
        np.testing.assert_array_equal(found.sel(c=name), corrected(both.sel(c=name)))


def test_an_area_that_is_clipped_is_told_where_it_is_given(stack):
    with pytest.warns(UserWarning, match=r"cropping\.area: .* is clipped to \[0, 30") as told:
        found = ps.correct(stack, ps.Cropping(area=(0, 40, 0, 24)))
    assert found.shape == SHAPE
    assert [each.filename for each in told] == [__file__]


def test_coordinates_survive_cropping(stack):
    placed = stack.assign_coords(
        z=("z", np.array([0.0, 0.1, 0.2, 0.4, 0.5, 0.6]), MICROMETERS),
        y=("y", np.arange(24) * 0.5, MICROMETERS),
        x=("x", np.arange(30) * 0.25, MICROMETERS),
        quality=("z", np.arange(6)),
    )
    found = ps.correct(ps.correct(placed, ps.Cropping(area=(2, 7, 3, 9))), PER_SLICE)
    xr.testing.assert_identical(
        found.coords.to_dataset(), placed[:, 15:21, 2:7].coords.to_dataset()
    )
    assert found.x.attrs == MICROMETERS


def test_a_window_in_micrometers_uses_the_coordinates(stack):
    placed = stack.assign_coords(
        z=("z", np.arange(6) * 0.5, MICROMETERS),
        y=("y", np.arange(24) * 0.2, MICROMETERS),
        x=("x", np.arange(30) * 0.1, MICROMETERS),
    )
    in_pixels = ps.BackgroundRemoval(method="local", size=(7, 5, 3))
    in_um = ps.BackgroundRemoval(method="local", size=(0.7, 1, 1.5), size_unit="um")
    np.testing.assert_allclose(fitted(placed, in_um), fitted(stack, in_pixels), atol=1e-3)


@pytest.mark.parametrize(
    "correction",
    [
        *(POLYNOMIAL, LOCAL, ps.IntensityRescaling(), ps.IntensityRescalingArea(), ps.CLAHE()),
        *(ps.PercentileClipping(), ps.Equalization()),
    ],
    ids=lambda correction: correction.name,
)
def test_without_a_fit_the_way_to_make_it_is_named(stack, correction):
    expected = r"found = fit\(stack, correction\), then correct\(stack, correction, found\)"
    with pytest.raises(FitRequiredError, match=expected) as caught:
        ps.correct(stack, correction)
    assert type(correction).__name__ in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_registration_names_the_correction_that_finds_the_transformations(stack):
    with pytest.raises(FitRequiredError, match=r"fit\(stack, RegistrationCalculation\(\.\.\.\)\)"):
        ps.correct(stack, ps.RegistrationTransformation())


def test_a_correction_without_a_fit_cannot_be_fitted(stack):
    with pytest.raises(StackError, match=r"BackgroundRemoval needs no fit .* correct\(stack"):
        ps.fit(stack, PER_SLICE)


def test_a_fit_with_other_parameters_is_refused(stack):
    fit = ps.fit(stack, POLYNOMIAL)
    other = replace(POLYNOMIAL, orders=(1, 2, 1))
    with pytest.raises(StackError, match=r"orders = \(1, 1, 1\), not \(1, 2, 1\)"):
        ps.correct(stack, other, fit=fit)


def test_a_fit_of_another_correction_is_refused(stack):
    fit = ps.fit(stack, POLYNOMIAL)
    expected = "IntensityRescaling cannot use a fit of BackgroundRemoval"
    with pytest.raises(StackError, match=expected):
        ps.correct(stack, ps.IntensityRescaling(), fit=fit)


@pytest.mark.parametrize("part", [slice(2, 5), slice(0, 5)])
def test_a_fit_of_another_stack_is_refused(stack, part):
    fit = ps.fit(stack, ps.IntensityRescaling())
    with pytest.raises(StackError, match=r"\(6, 24, 30\).*correct the whole stack, then select"):
        ps.correct(stack[part], ps.IntensityRescaling(), fit=fit)


def test_a_fit_of_other_channels_is_refused(stack):
    with pytest.raises(StackError, match="1 channels, the stack has 2"):
        ps.correct(two_channels(), POLYNOMIAL, fit=ps.fit(stack, POLYNOMIAL))


@pytest.mark.parametrize(
    "correction",
    [
        replace(POLYNOMIAL, threshold_min=3),
        LOCAL,
        ps.IntensityRescaling(nbins=16, range_bins=(0, 255)),
        ps.IntensityRescalingArea(area=(0, 9, 0, 9)),
        ps.PercentileClipping(percentiles=(1, 90)),
        ps.Equalization(),
        ps.CLAHE(size=(10, 12, 3), range_bins=(0, 200)),
    ],
    ids=lambda correction: correction.name,
)
def test_fits_can_be_saved_and_loaded(tmp_path, correction):
    both = two_channels()
    fit = ps.fit(both, correction)
    path = tmp_path / "my fit.npz"
    fit.save(path)
    loaded = ps.Fit.load(path)
    assert loaded.correction == fit.correction
    assert loaded.shape == fit.shape
    np.testing.assert_array_equal(
        ps.correct(both, correction, fit=loaded), ps.correct(both, correction, fit=fit)
    )


@pytest.mark.parametrize("content", ["text", "other arrays", "nothing"])
def test_a_file_that_is_no_fit_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "other.npz"
    if content == "other arrays":
        np.savez(path, a=1)
    else:
        path.write_text("text" * (content == "text"))
    with pytest.raises(StackError, match=r"other\.npz: a fit that was saved expected"):
        ps.Fit.load(path)


@pytest.mark.parametrize(
    "dims", [("y", "x", "z"), ("z", "y", "x", "c"), ("t", "y", "x"), ("y", "x")]
)
def test_other_dims_are_refused(dims):
    wrong = xr.DataArray(np.zeros((3, 4, 5, 6)[: len(dims)], np.uint8), dims=dims)
    with pytest.raises(StackError, match=r"\(z, y, x\) or \(c, z, y, x\) expected, found"):
        ps.correct(wrong, CROPPING)


def test_a_plain_array_is_refused_with_what_to_do(stack):
    with pytest.raises(StackError, match=r"found ndarray: xarray\.DataArray\(array"):
        ps.correct(stack.values, CROPPING)


@pytest.mark.parametrize("dtype", ["int64", "uint32", "bool", "complex64"])
def test_types_that_would_lose_values_are_refused(stack, dtype):
    with pytest.raises(StackError, match=f"uint16.*found {dtype}"):
        ps.correct(stack.astype(dtype), CROPPING)


def test_an_empty_stack_is_said_to_be_empty(stack):
    with pytest.raises(StackError, match="the stack is empty"):
        ps.correct(stack[:0], CROPPING)


def test_wrong_parameters_are_named_all_at_once(stack):
    with pytest.raises(ParameterError) as caught:
        ps.fit(stack, ps.BackgroundRemoval(orders="1", threshold_min="2"))
    assert {problem.path for problem in caught.value.problems} == {
        "bkg_removal.orders",
        "bkg_removal.threshold_min",
    }
    with pytest.raises(ParameterError, match=r"cropping\.area: .*selects nothing"):
        ps.correct(stack, ps.Cropping(area=(5, 5, 0, 9)))


def test_slices_on_disk_are_opened_with_their_positions(make_project):
    project = make_project(None)
    stack = ps.open_stack(project)
    assert stack.dims == ("c", "z", "y", "x")
    assert stack.shape == (1, 7, 36, 42)
    assert stack.dtype == np.uint8
    np.testing.assert_array_equal(stack[0], textured((7, 36, 42)))
    assert stack.x.attrs["units"] == "pixel"


def test_channels_on_disk_are_opened_by_name(make_project):
    project = make_project(None, channels=["ESB", "SE2"])
    assert list(ps.open_stack(project, ("SE2", "ESB")).c.values) == ["SE2", "ESB"]
    with pytest.raises(SourceError, match=r'did you mean channels = \["ESB", "SE2"\]'):
        ps.open_stack(project)


def test_one_multi_page_file_is_a_stack(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, textured(SHAPE), photometric="minisblack")
    np.testing.assert_array_equal(ps.open_stack(path)[0], textured(SHAPE))


def test_without_a_result_the_command_that_makes_it_is_named(tmp_path):
    with pytest.raises(StackError, match="pystack3d-dask run"):
        ps.open_result(tmp_path)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"dz": 0.01}, "where the slices lie is not known"),
        ({"dz": 0.01, "z_source": [0, 0.1, 0.2]}, "a position for each of the 6 slices expected"),
        ({"dz": 0.01, "z_source": "metadata"}, "the files tell no position"),
    ],
)
def test_resampling_without_positions_is_refused(stack, parameters, expected):
    with pytest.raises(ParameterError, match=expected):
        ps.correct(stack, ps.Resampling(**parameters))


def test_resampling_drops_what_belonged_to_other_slices(stack):
    named = stack.assign_coords(
        z=("z", np.arange(6) * 0.01, MICROMETERS), label=("z", list("abcdef")), site=3
    )
    result = ps.correct(named, ps.Resampling(dz=0.02))
    assert "label" not in result.coords
    assert result.site == 3
    np.testing.assert_allclose(result.z, [0, 0.02, 0.04])
