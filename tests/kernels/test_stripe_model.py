"""Powers of specimen, stripes and noise, and the best guess at stripes that follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from striped import rms, specimen, stripes

from pystack3d_dask.kernels.destriping.neighbor_stripes import stripes_of
from pystack3d_dask.kernels.destriping.stripe_frequencies import frequencies_of, spectrum_of
from pystack3d_dask.kernels.destriping.stripe_model import (
    StripeModel,
    rms_removed,
    slice_powers,
    stripe_model,
)


def model_of(stack):
    """Return the model of a stack, its frequencies and its spectra."""
    frequencies = frequencies_of(stack.shape[1:])
    spectra = [spectrum_of(image, frequencies) for image in stack]
    seen = [slice_powers(spectra[k::-1][:4], frequencies) for k in range(len(stack))]
    wedge, rings = (np.nanmean([each[name] for each in seen], 0) for name in ("wedge", "rings"))
    return stripe_model(wedge, rings, len(stack), frequencies), frequencies, spectra


def one(**powers):
    """Return a model of one group."""
    usual = {
        "specimen": 1.0,
        "stripes": 1.0,
        "lasting": 0.0,
        "noise": 0.0,
        "decay": 0.1,
        "exponent": 1.0,
        "persistence": 0.0,
    }
    return StripeModel(**{name: np.array([value]) for name, value in {**usual, **powers}.items()})


def test_a_model_goes_through_arrays():
    model = one(specimen=3.0)
    assert StripeModel.of_arrays(model.as_arrays() | {"more": np.zeros(2)}) == model


def test_powers_are_those_of_stripes_and_specimen():
    given, lines = specimen(), stripes()
    model, frequencies, _ = model_of(given + lines)
    true = [frequencies.wedge.mean(np.abs(spectrum_of(image, frequencies)) ** 2) for image in lines]
    counts = frequencies.wedge.counts
    total = float((np.mean(true, axis=0) * counts).sum()) / np.prod(frequencies.extended)
    assert float((model.stripes * counts).sum()) == pytest.approx(total, rel=0.25)


def test_without_stripes_hardly_any_are_found():
    model, frequencies, _ = model_of(specimen())
    striped, *_ = model_of(specimen() + stripes())
    assert rms_removed(model, frequencies, 3) < 0.1 * rms_removed(striped, frequencies, 3)


def test_alone_a_slice_gives_the_share_that_stripes_have():
    weights, power = one(specimen=1.0, stripes=3.0, noise=1.0).weights([0], 0)
    assert weights[0, 0] == pytest.approx(3 / 5, rel=1e-3)
    assert power[0] == pytest.approx(9 / 5, rel=1e-3)


def test_what_never_changes_is_told_by_its_neighbors():
    weights, power = one(decay=0.0).weights(range(-20, 21), 20)
    assert power[0] == pytest.approx(1, abs=0.05)
    assert weights.sum() == pytest.approx(0, abs=0.05)


def test_neighbors_are_of_no_use_where_the_specimen_is_new_in_each_slice():
    weights, _ = one(decay=50.0).weights([-1, 0, 1], 1)
    np.testing.assert_allclose(weights[:, 0], [0, 0.5, 0], atol=1e-3)


def test_stripes_that_are_forgotten_at_once_are_new_ones():
    places = [-1, 0, 1]
    new = one(stripes=2.0).weights(places, 1)
    lasting = one(stripes=0.0, lasting=2.0).weights(places, 1)
    np.testing.assert_allclose(lasting[0], new[0])
    np.testing.assert_allclose(lasting[1], new[1])


def test_neighbors_add_to_stripes_that_they_share():
    alone, _ = one(lasting=1.0, stripes=0.0, noise=1.0, persistence=0.9, decay=50.0).weights([0], 0)
    lasting = one(lasting=1.0, stripes=0.0, noise=1.0, persistence=0.9, decay=50.0)
    weights, _ = lasting.weights([-1, 0, 1], 1)
    assert (weights > 0).all()
    assert weights[1, 0] < alone[0, 0] < weights.sum()


@pytest.mark.parametrize("along_z", [0.5, 0.7])
def test_powers_are_those_of_stripes_that_go_on(along_z):
    lines = stripes((32, 160, 176), along_z=along_z)
    model, frequencies, _ = model_of(specimen((32, 160, 176)) + lines)
    true = [frequencies.wedge.mean(np.abs(spectrum_of(image, frequencies)) ** 2) for image in lines]
    counts = frequencies.wedge.counts
    total = float((np.mean(true, axis=0) * counts).sum()) / np.prod(frequencies.extended)
    assert float(model.persistence) == pytest.approx(along_z, abs=0.15)
    found = float(((model.stripes + model.lasting) * counts).sum())
    assert 0.5 * total < found < 1.1 * total  # the coarsest cannot be told from the specimen


def test_without_power_of_stripes_nothing_is_taken():
    weights, power = one(stripes=0.0).weights([-1, 0, 1], 1)
    assert not weights.any()
    assert not power.any()


def test_what_is_found_is_as_strong_as_expected():
    model, frequencies, spectra = model_of(specimen() + stripes())
    found = []
    for z in range(3, 13):
        near = {k: spectra[k] for k in range(z - 3, z + 4)}
        found.append(stripes_of(z, near, {k: np.zeros(2) for k in near}, model, frequencies))
    assert rms(np.array(found)) == pytest.approx(rms_removed(model, frequencies, 3), rel=0.25)


def test_a_slice_without_stripes_keeps_what_it_has():
    lines = stripes()
    lines[8] = 0
    model, frequencies, spectra = model_of(specimen() + lines)
    near = {k: spectra[k] for k in range(5, 12)}
    found = stripes_of(8, near, {k: np.zeros(2) for k in near}, model, frequencies)
    assert rms(found[None]) < 0.8


def test_moved_neighbors_are_laid_upon_the_slice():
    still = specimen() + stripes()
    model, frequencies, spectra = model_of(still)
    near = {k: spectra[k] for k in range(5, 12)}
    moves = {k: np.array([2.0, 3.0]) * (k - 8) for k in near}
    every_place = np.arange(spectra[0].size)
    moved = {
        k: spectrum * frequencies.phases(every_place, moves[k]).reshape(spectrum.shape)
        for k, spectrum in near.items()
    }
    at_rest = {k: np.zeros(2) for k in near}
    np.testing.assert_allclose(
        stripes_of(8, moved, moves, model, frequencies),
        stripes_of(8, near, at_rest, model, frequencies),
        atol=0.02,
    )


def test_more_noise_leaves_less_to_be_found():
    model, frequencies, _ = model_of(specimen() + stripes())
    noisier = replace(model, noise=model.noise + 1e4)
    assert rms_removed(noisier, frequencies, 3) < rms_removed(model, frequencies, 3)
