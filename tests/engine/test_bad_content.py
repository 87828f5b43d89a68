"""Slices that are bad by what they show, from the check to the result."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from stacks import make_project, porous

import pystack3d_dask as ps
from pystack3d_dask.pipeline import Pipeline

BAD = [6, 15]
CHAIN = {
    "slice_check": {},
    "percentile_clipping": {"percentiles": [1, 99]},
    "bkg_removal": {"method": "classes"},
}


def spoilt(value=None):
    """Return a stack with two slices of noise, or of one gray level."""
    stack = porous()
    rng = np.random.default_rng(0)
    for z in BAD:
        stack[z] = rng.integers(40, 200, stack[z].shape) if value is None else value
    return stack


def run(directory, steps, stack, **settings):
    """Run a project, and return it and its summary on disk."""
    project = make_project(directory, steps, stack, **settings)
    pipeline = Pipeline.from_toml(project / "params.toml")
    pipeline.run()
    return pipeline, json.loads((directory / "process" / "summary.json").read_text())


def test_bad_slices_are_listed_and_marked_in_the_result(tmp_path):
    _, summary = run(tmp_path, CHAIN, spoilt())
    assert [each["slice"] for each in summary["bad_content"]] == [
        f"slice_{z:04d}_z={z * 0.01:.4f}um.tif" for z in BAD
    ]
    assert all("unlike" in each["reason"] for each in summary["bad_content"])
    assert "slice_check: 2 of 24 slices are bad" in "\n".join(summary["remarks"])
    assert np.flatnonzero(ps.open_result(tmp_path).bad).tolist() == BAD


def test_fits_of_the_same_pass_and_of_later_ones_leave_them_out(tmp_path):
    fits = []
    for name, value in (("white", 255), ("noise", None)):
        pipeline, _ = run(tmp_path / name, CHAIN, spoilt(value))
        fits.append(pipeline.fit())
    for step in ("percentile_clipping", "bkg_removal"):
        for key, values in fits[0][step][0].items():
            np.testing.assert_array_equal(values, fits[1][step][0][key], err_msg=f"{step} {key}")


@pytest.mark.parametrize(("action", "count"), [("interpolate", 24), ("drop", 22)])
def test_they_are_replaced_or_left_out_on_request(tmp_path, action, count):
    steps = {"slice_check": {}, "slice_repair": {"action": action}}
    run(tmp_path, steps, spoilt())
    result = ps.open_result(tmp_path)[0]
    assert result.shape[0] == count
    truth, good = porous(), np.delete(np.arange(24), BAD)
    if action == "drop":
        np.testing.assert_array_equal(result.values, truth[good])
        np.testing.assert_allclose(result.z.values, good * 0.01)
        return
    for z in BAD:
        between = np.rint((truth[z - 1].astype(float) + truth[z + 1]) / 2)
        np.testing.assert_array_equal(result.values[z], between)


def test_one_channel_decides_for_all(tmp_path):
    channels = {"se": spoilt(), "bse": porous()}
    steps = {"slice_check": {}, "slice_repair": {"action": "drop"}}
    _, summary = run(tmp_path, steps, channels)
    assert ps.open_result(tmp_path).shape[:2] == (2, 22)
    assert {each["channel"] for each in summary["bad_content"]} == {"se"}


def test_a_stack_without_bad_slices_is_the_same_with_and_without_the_check(tmp_path):
    rest = {name: CHAIN[name] for name in CHAIN if name != "slice_check"}
    results = []
    for name, steps in (("with", {"slice_check": {}, **rest}), ("without", rest)):
        _, summary = run(tmp_path / name, steps, porous())
        assert summary["bad_content"] == []
        results.append(ps.open_result(tmp_path / name))
    assert "bad" not in results[0].coords
    np.testing.assert_array_equal(results[0].values, results[1].values)


def test_step_by_step_on_arrays_gives_the_same(tmp_path):
    run(tmp_path, CHAIN, spoilt())
    stack = ps.open_stack(make_project(tmp_path / "same", CHAIN, spoilt()))
    steps = [
        ps.SliceCheck(),
        ps.PercentileClipping(percentiles=(1, 99)),
        ps.BackgroundRemoval(method="classes"),
    ]
    for step in steps:
        stack = ps.correct(stack, step, ps.fit(stack, step))
        assert np.flatnonzero(stack.bad).tolist() == BAD
    np.testing.assert_array_equal(ps.to_source_type(stack).values, ps.open_result(tmp_path).values)


def test_arrays_are_repaired_with_the_fit_of_the_check():
    stack = xr.DataArray(spoilt(), dims=("z", "y", "x"))
    found = ps.fit(stack, ps.SliceCheck())
    left = ps.correct(stack, ps.SliceRepair(action="drop"), found)
    np.testing.assert_array_equal(left, np.delete(porous(), BAD, axis=0))
    assert "bad" not in left.coords


def test_marked_slices_can_be_left_out_by_xarray(tmp_path):
    run(tmp_path, {"slice_check": {}}, spoilt())
    result = ps.open_result(tmp_path)
    good = result.isel(z=~result.bad)
    np.testing.assert_array_equal(good[0], np.delete(porous(), BAD, axis=0))
