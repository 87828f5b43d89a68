"""The key ``dither``: no level stays empty, and the same noise however a stack is cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from conftest import result

import pystack3d_dask as ps
from pystack3d_dask.cluster.local import local_client

GAMMA = ps.Gamma(gamma=0.5)  # makes dark levels brighter, so that many between stay empty
STACK = np.random.default_rng(0).integers(0, 60, (9, 50, 64)).astype(np.uint8)
STACK[:, 0, 0] = 255


def lazy(chunks):
    return xr.DataArray(STACK, dims=("z", "y", "x")).chunk(chunks)


@pytest.fixture(scope="module")
def dithered(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dithered")
    ps.Pipeline([GAMMA], dither=True).run(lazy({}), directory=directory)
    return result(directory)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    directory = tmp_path_factory.mktemp("plain")
    ps.Pipeline([GAMMA]).run(lazy({}), directory=directory)
    return result(directory)


def test_no_level_stays_empty_and_means_are_exact(plain, dithered):
    levels = np.arange(70, 110)  # between which there is one gap at most
    assert np.isin(levels, plain).mean() < 0.8
    assert np.isin(levels, dithered).all()
    assert np.abs(dithered.astype(int) - plain).max() == 1
    exact = 255 * np.sqrt(STACK / 255)
    assert abs(dithered.mean() - exact.mean()) < 0.01


def test_workers_make_no_difference(tmp_path, dithered):
    with local_client(2) as client:
        ps.Pipeline([GAMMA], dither=True).run(lazy({"z": 2}), directory=tmp_path, client=client)
    np.testing.assert_array_equal(result(tmp_path), dithered)


@pytest.mark.parametrize("chunks", [{}, {"z": 2, "y": 17, "x": 20}])
def test_lazy_arrays_get_the_same(dithered, chunks):
    found = ps.to_source_type(ps.correct(lazy(chunks), GAMMA), dither=True)
    np.testing.assert_array_equal(found.compute(scheduler="threads"), np.squeeze(dithered))


def test_switching_it_makes_the_result_again(tmp_path, plain, dithered):
    for dither, expected in ((True, dithered), (False, plain), (True, dithered)):
        ps.Pipeline([GAMMA], dither=dither).run(lazy({}), directory=tmp_path)
        np.testing.assert_array_equal(result(tmp_path), expected)


def test_empty_levels_are_told_of(tmp_path):
    stack = np.tile(STACK, (1, 4, 4))
    for dither in (False, True):
        image = xr.DataArray(stack, dims=("z", "y", "x"))
        ps.Pipeline([GAMMA], dither=dither).run(image, directory=tmp_path)
        told = json.loads((tmp_path / "process" / "summary.json").read_text())["remarks"]
        assert any("dither = true" in each for each in told) != dither


def test_truncated_values_are_not_dithered(tmp_path):
    with pytest.raises(ps.ParameterError, match=r'dither.*"float32"'):
        ps.Pipeline([GAMMA], dither=True, precision="source").run(lazy({}), directory=tmp_path)
