"""The key ``fill``: padding stays as it is, from parameter file to result."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from conftest import result
from stacks import make_project
from striped import specimen

import pystack3d_dask as ps
from pystack3d_dask.cluster.local import local_client
from pystack3d_dask.core.chain import padding_level

CHAIN = [
    ps.Cropping(area=(5, 95, 3, 77)),
    ps.BackgroundRemoval(orders=(2, 2, 1), skip_factors=(2, 2, 1)),
    ps.IntensityRescaling(nbins=64, filter_size=6),
    ps.RegistrationCalculation(transformation="TRANSLATION"),
    ps.RegistrationTransformation(),
    ps.Destriping(filters=[ps.Gabor(noise_level=5, sigma=(1, 30))], maxit=5),
    ps.CLAHE(),
]
STACK = np.clip(np.rint(specimen((10, 80, 100))), 10, 250).astype(np.uint8)
STACK[:, :15], STACK[:, :, -18:] = 0, 0
STACK[:, 30:70:10, 20:70:10] = 0  # pores


def lazy(chunks):
    return xr.DataArray(STACK, dims=("z", "y", "x")).chunk(chunks)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("filled")
    ps.Pipeline(CHAIN, fill=[0]).run(lazy({}), directory=directory)
    return np.squeeze(result(directory))


def test_padding_stays_and_pores_are_corrected(filled):
    assert (filled[:, :6, 20:60] == 0).all()
    assert (filled[:, 20:60, -8:] == 0).all()
    inside = filled[:, 20:60, 10:60]
    assert np.count_nonzero(inside == 0) < np.count_nonzero(STACK[:, 23:63, 15:65] == 0) / 2


def test_summary_and_report_name_its_level(tmp_path):
    pipeline = ps.Pipeline.from_toml(make_project(tmp_path, {"gamma": {}}, STACK, fill=[0]))
    pipeline.run()
    assert json.loads((tmp_path / "process" / "summary.json").read_text())["fill"] == [0]
    assert "gray level 0" in pipeline.report().read_text()


def test_a_level_that_is_no_padding_is_named(tmp_path):
    kept = replace(CHAIN[0], checkpoint=True)
    for steps in ([kept, ps.Gamma(gamma=0.9)], [ps.PercentileClipping()]):
        pipeline = ps.Pipeline(steps, fill=[0, 7])
        summary = pipeline.run(lazy({"z": 3}), directory=tmp_path)
        texts = [text for text in summary.remarks if "padding" in text]
        assert len(texts) == 1
        assert texts[0].startswith("fill: no slice has padding of gray level 7,")


def test_workers_and_chunks_make_no_difference(tmp_path, filled):
    with local_client(2) as client:
        pipeline = ps.Pipeline(CHAIN, fill=[0])
        pipeline.run(lazy({"z": 2, "y": 33}), directory=tmp_path, client=client)
    np.testing.assert_array_equal(np.squeeze(result(tmp_path)), filled)


def test_switching_it_makes_the_result_again(tmp_path, filled):
    for fill in ([], [0]):
        ps.Pipeline(CHAIN, fill=fill).run(lazy({}), directory=tmp_path)
        assert np.array_equal(np.squeeze(result(tmp_path)), filled) == bool(fill)


def test_levels_that_croppings_left_are_no_others_without_these(tmp_path):
    kept = replace(CHAIN[0], checkpoint=True)
    final = ps.CroppingFinal(area=(0, 90, 0, 74))
    rest = [ps.PercentileClipping(), ps.Gamma(gamma=0.8)]
    for steps in ([kept, final], [kept, *rest], rest, [kept, *rest]):
        ps.Pipeline(steps, fill=[0]).run(lazy({}), directory=tmp_path / "project")
        fresh = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        ps.Pipeline(steps, fill=[0]).run(lazy({}), directory=fresh)
        np.testing.assert_array_equal(result(tmp_path / "project"), result(fresh))


def test_noise_of_dithering_leaves_padding_alone(tmp_path):
    ps.Pipeline([ps.Gamma(gamma=0.9)], fill=[0], dither=True).run(lazy({}), directory=tmp_path)
    assert (np.squeeze(result(tmp_path))[:, :15] == 0).all()


def test_levels_may_be_numbers_of_numpy(tmp_path):
    for fill in (np.array([0, 7]), [np.uint8(0), np.int64(7)]):
        assert "fill = [0, 7]" in ps.Pipeline([ps.Gamma(gamma=0.9)], fill=fill).to_toml()


@pytest.mark.parametrize(
    ("fill", "given", "message"),
    [
        ([0], {"precision": "source"}, 'is for precision = "float32"'),
        ([300], {}, "gray levels of uint8 go from 0 to 255; found 300"),
        ([0.5], {}, "gray levels of uint8 are whole numbers; found 0.5"),
        ([float("nan")], {}, "gray levels of uint8 go from 0 to 255; found nan"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, fill, given, message):
    with pytest.raises(ps.ParameterError, match=f"fill: {message}"):
        ps.Pipeline([ps.Gamma(gamma=0.9)], fill=fill, **given).run(lazy({}), directory=tmp_path)


def test_padding_is_looked_for_after_croppings():
    assert padding_level(CHAIN) == 1
    assert padding_level(CHAIN[1:]) == 0
    assert padding_level([CHAIN[0], ps.SliceCheck()]) == 1
    assert padding_level(CHAIN[:1]) is None
