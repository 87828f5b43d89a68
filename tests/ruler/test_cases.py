"""Cases of the ruler are what they say; bad slices are bad in the way that is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from real_images import DATA, MEDULLA, needs
from ruler.bad_slices import (
    KINDS,
    Blank,
    Duplicated,
    Exposed,
    NoiseOnly,
    OutOfFocus,
    ShiftedInside,
    spoil,
)
from ruler.cases import CASES, Case, Drift, acquire

Array = np.ndarray
SMALL = 6, 64, 64


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def gray() -> Array:
    return rng(5).integers(60, 150, (24, 40, 50)).astype(np.uint8)


def test_drift_walks_and_jumps_away_and_back() -> None:
    shifts = Drift(0.0, jump=0.2, share=0.3).shifts((20, 100, 120), rng())
    distance = np.hypot(*shifts.T)
    assert distance == pytest.approx(np.where(distance > 1, 20, 0))
    assert np.count_nonzero(np.diff(distance)) == 6
    steps = np.diff(Drift(0.3).shifts((2000, 100, 100), rng()), axis=0)
    assert steps.std() == pytest.approx(0.3, rel=0.05)
    assert not shifts[0].any()


def test_a_share_of_slices_is_spoiled_and_named_and_the_rest_untouched() -> None:
    stack = gray()
    kept = stack.copy()
    out, bad = spoil(stack, KINDS, 0.25, rng())
    np.testing.assert_array_equal(stack, kept)
    assert out.dtype == np.uint8
    assert len(bad) == 6
    assert list(bad) == sorted(bad)
    assert 0 not in bad
    assert [k for k in range(24) if (out[k] != stack[k]).any()] == list(bad)


def test_all_kinds_of_bad_slices_occur_before_one_occurs_again() -> None:
    _, bad = spoil(gray(), KINDS, len(KINDS) / 24, rng())
    assert set(bad.values()) == set(KINDS)


def test_the_first_slice_is_never_spoiled() -> None:
    assert not any(0 in spoil(gray(), KINDS, 0.3, rng(seed))[1] for seed in range(20))


def test_a_duplicate_is_of_the_slice_before_as_delivered() -> None:
    stack = gray()
    out, bad = spoil(stack, (Duplicated(),), 1.0, rng())
    assert len(bad) == 23
    np.testing.assert_array_equal(out, np.broadcast_to(stack[0], stack.shape))


def test_no_slice_is_spoiled_where_the_share_is_0() -> None:
    out, bad = spoil(gray(), KINDS, 0.0, rng())
    np.testing.assert_array_equal(out, gray())
    assert not bad


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("rows", [True, False])
def test_a_blank_slice_lacks_its_share_of_rows_or_columns(share: float, rows: bool) -> None:
    out = Blank(share, rows).spoil(gray(), 3, rng())
    lines = (out == 0).all(axis=1 if rows else 0)
    assert lines.mean() == pytest.approx(share, abs=0.03)
    assert (out == 0).mean() == pytest.approx(lines.mean())


def test_noise_only_has_the_level_and_contrast_of_the_slice_and_nothing_of_its_image() -> None:
    stack = gray()
    out = NoiseOnly().spoil(stack, 3, rng())
    assert [out.mean(), out.std()] == pytest.approx([stack[3].mean(), stack[3].std()], rel=0.05)
    assert abs(np.corrcoef(out.ravel(), stack[3].ravel())[0, 1]) < 0.1


def test_other_bad_slices_are_blurred_repeated_exposed_or_shifted() -> None:
    stack = gray()
    assert OutOfFocus(2).spoil(stack, 3, rng()).std() < 0.3 * stack[3].std()
    np.testing.assert_array_equal(Duplicated().spoil(stack, 3, rng()), stack[2])
    out, bad = spoil(stack, (Exposed(2.5),), 0.05, rng())
    (k,) = bad
    np.testing.assert_array_equal(out[k] == 255, stack[k] > 101)
    shifted = ShiftedInside(7).spoil(stack, 3, rng())
    band = (shifted != stack[3]).any(axis=1)
    assert band.mean() == pytest.approx(0.4)
    np.testing.assert_array_equal(shifted[band, 7:], stack[3][band, :-7])


def test_a_seed_decides_a_case() -> None:
    case = replace(CASES["porous: all"], bad=0.3)
    first, again, other = (acquire(case, seed, SMALL) for seed in (1, 1, 2))
    for name in ("slices", "clean", "noise", "shifts", "depths", "bad"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.slices != other.slices).mean() > 0.9
    assert first.shifts[1:].all()


@pytest.mark.parametrize("texture", ["porous", "layers"])
def test_a_clean_case_is_the_specimen_and_noise(texture: str) -> None:
    acquired = acquire(CASES[f"{texture}: clean"], 1, SMALL)
    expected = np.stack([acquired.specimen.at(z) for z in range(6)]) + acquired.noise
    np.testing.assert_array_equal(acquired.slices, np.rint(expected).astype(np.uint8))
    assert rms(acquired.noise) == pytest.approx(2.8, rel=0.05)
    assert rms(acquired.defect) == pytest.approx(1 / np.sqrt(12), rel=0.05)


def test_nothing_is_a_specimen_rounded() -> None:
    acquired = acquire(CASES["porous: nothing"], 1, SMALL)
    assert not acquired.noise.any()
    assert not acquired.shifts.any()
    assert np.abs(acquired.slices - acquired.clean).max() <= 0.5
    np.testing.assert_array_equal(acquired.depths, np.arange(6))


def test_a_case_says_where_its_slices_show_the_specimen() -> None:
    acquired = acquire(Case(drift=Drift(2.0), uneven=0.8), 1, SMALL)
    y, x = acquired.shifts[4]
    expected = acquired.specimen.at(acquired.depths[4], -y, -x)
    np.testing.assert_allclose(acquired.clean[4], expected, atol=1e-3)
    assert np.ptp(np.diff(acquired.depths)) > 0.2
    assert (np.diff(acquired.depths) > 0).all()


def test_cases_of_a_texture_show_the_same_specimen() -> None:
    first, other = (acquire(CASES[f"porous: {name}"], 1, SMALL) for name in ("clean", "vignetting"))
    np.testing.assert_array_equal(first.clean, other.clean)


def test_all_without_stripes_differs_by_the_stripes_only() -> None:
    with_stripes, without = (
        acquire(CASES[f"porous: {name}"], 1, SMALL) for name in ("all", "all without stripes")
    )
    np.testing.assert_array_equal(with_stripes.clean, without.clean)
    np.testing.assert_array_equal(with_stripes.shifts, without.shifts)
    assert 1 < rms(with_stripes.defect - without.defect) < 4


def test_bad_slices_are_those_that_show_something_else() -> None:
    acquired = acquire(CASES["porous: bad slices"], 1, (16, 64, 64))
    worst = np.argsort([rms(each) for each in acquired.defect])[-2:]
    assert acquired.bad == tuple(sorted(worst.tolist()))


@pytest.mark.parametrize("texture", ["porous", "cellular"])
def test_every_recipe_changes_what_it_should_and_nothing_else(texture: str) -> None:
    for case in (each for each in CASES.values() if each.texture == texture):
        acquired = acquire(case, 1, SMALL)
        assert acquired.name == case.name
        assert acquired.slices.dtype == np.uint8
        is_changed = rms(acquired.defect) > 1 or acquired.empty.any()
        assert is_changed == bool(case.defects or case.bad), case.name
        assert acquired.noise.any() == bool(case.noise), case.name
        assert acquired.shifts.any() == bool(case.drift), case.name
        assert bool(acquired.bad) == bool(case.bad), case.name


@needs(MEDULLA)
def test_a_real_stack_takes_defects_as_well() -> None:
    acquired = acquire(CASES["medulla: long stripes"], 1, (4, 200, 200), DATA)
    assert rms(acquired.defect) == pytest.approx(10, rel=0.02)
