"""Measures of results that are known to be perfect, or wrong in a known way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from ruler.acquired import WHITE, Acquired, Array, Corrected
from ruler.alignment import align, align_input, input_as_result
from ruler.interpolation import LINEAR, Interpolation
from ruler.measures import measure, measure_input
from scipy import ndimage

SHAPE = (8, 104, 116)
RANDOM = np.random.default_rng(5)
WAVES = RANDOM.normal(size=(40, 3)) * (0.04, 0.16, 0.16)
PHASES = RANDOM.uniform(0, 2 * np.pi, 40)


@dataclass(frozen=True)
class Grains:
    """Smooth grains with sharp edges; `rise` makes bright ones more frequent along z."""

    rise: float = 0.0
    name: str = "grains"
    shape: tuple[int, int, int] = SHAPE

    def height(self, z: float, y: float, x: float) -> Array:
        rows, columns = np.arange(self.shape[1]) + y, np.arange(self.shape[2]) + x
        along_y = np.exp(1j * (np.outer(rows, WAVES[:, 1]) + WAVES[:, 0] * z + PHASES))
        along_x = np.exp(1j * np.outer(WAVES[:, 2], columns))
        return (along_y @ along_x).real / np.sqrt(20) + self.rise * z

    def at(self, z: float, y: float = 0.0, x: float = 0.0) -> Array:
        return (120 + 60 * np.tanh(4 * self.height(z, y, x))).astype(np.float32)

    def pores(self, z: float, y: float = 0.0, x: float = 0.0) -> Array:
        return self.height(z, y, x) < 0


def acquisition(
    defect: Array | float = 0.0,
    shifts: Array | None = None,
    noise: float = 3.0,
    bad: tuple[int, ...] = (),
    rise: float = 0.0,
) -> Acquired:
    """Return what a microscope makes of grains; bad slices are black."""
    specimen = Grains(rise)
    depths = np.arange(float(SHAPE[0]))
    shifts = np.zeros((SHAPE[0], 2)) if shifts is None else shifts
    moved = zip(depths, *(-shifts).T, strict=True)
    clean = np.stack([specimen.at(*place) for place in moved])
    added = np.random.default_rng(1).normal(0, noise, SHAPE).astype(np.float32)
    slices = np.rint(np.clip(clean + defect + added, 0, WHITE)).astype(np.uint8)
    slices[list(bad)] = 0
    return Acquired("grains", slices, clean, added, shifts, depths, bad, specimen)


def result(
    images: Array,
    depths: Array | None = None,
    top: int = 0,
    left: int = 0,
    interpolation: Interpolation = LINEAR,
) -> Corrected:
    depths = np.arange(float(len(images))) if depths is None else depths
    return Corrected(np.asarray(images, np.float32), depths, top, left, (), 0.0, interpolation)


def registered(images: Array, shifts: Array, order: int = 1) -> Array:
    pairs = zip(images, -shifts, strict=True)
    moved = (ndimage.shift(image, move, order=order, mode="nearest") for image, move in pairs)
    return np.stack(list(moved))


def stripes(width: int = 1) -> Array:
    """Return stripes along y that differ from slice to slice, 10 levels rms."""
    random = np.random.default_rng(2)
    return np.repeat(random.normal(0, 10, (SHAPE[0], 1, SHAPE[2] // width)), width, axis=2)


def drift() -> Array:
    return np.cumsum(np.random.default_rng(3).normal(0, 0.5, (SHAPE[0], 2)), axis=0)


PLAIN = acquisition()


def test_the_truth_is_perfect():
    found = measure(PLAIN, result(PLAIN.clean))
    errors = found.rms, found.rms_solid, found.rms_pores, found.rms_edges, found.jump
    assert errors == pytest.approx((0, 0, 0, 0, 0), abs=1e-3)
    assert (found.gain, found.offset) == pytest.approx((1, 0), abs=1e-3)
    assert (found.structure_kept, found.upright_kept) == pytest.approx((1, 1), abs=1e-3)
    assert found.edge_width == pytest.approx(1, abs=0.03)
    assert found.noise_kept == pytest.approx(0, abs=1e-3)
    assert found.misplaced == pytest.approx(0, abs=0.01)


def test_the_reference_keeps_noise_and_edges_as_they_are():
    shifts, depths = drift(), np.arange(0.3, 6.9, 0.9)
    acquired = acquisition(shifts=shifts)
    known = align(acquired, result(acquired.truth(depths, slice(None), slice(None)), depths))
    start = known.rows.start, known.columns.start
    found = measure(acquired, result(known.reference, depths, *start))
    kept = found.noise_kept, found.edge_width, found.flicker, found.structure_kept
    assert kept == pytest.approx((1, 1, 1, 1), abs=0.02)


def test_noise_of_the_reference_is_weaker_between_slices():
    truth = PLAIN.truth(np.array([2.0, 2.5]), slice(None), slice(None))
    noise = align(PLAIN, result(truth, np.array([2.0, 2.5]))).noise
    assert noise.std(axis=(1, 2)) == pytest.approx([3, 3 / np.sqrt(2)], rel=0.03)


@pytest.mark.parametrize(("scheme", "order"), [("linear", 1), ("cubic", 3)])
def test_a_program_with_the_true_shifts_is_as_good_as_the_reference(scheme, order):
    shifts = drift()
    acquired = acquisition(shifts=shifts)
    images = registered(acquired.clean + acquired.noise, shifts, order)
    found = measure(acquired, result(images, interpolation=Interpolation(scheme, "whole")))
    assert found.noise_kept == pytest.approx(1, abs=0.03)
    assert found.flicker == pytest.approx(1, abs=0.1)
    assert 0.99 < found.edge_width < 1.2
    assert found.misplaced < 0.05


def test_a_perfect_program_leaves_what_noise_and_interpolation_do():
    shifts = drift()
    striped = acquisition(defect=stripes(), shifts=shifts)
    found = measure(striped, result(registered(striped.clean + striped.noise, shifts)))
    assert found.perfect == pytest.approx(found.rms, rel=0.05)
    assert measure(striped, result(striped.slices)).perfect == pytest.approx(found.rms, rel=0.1)
    assert measure(PLAIN, result(PLAIN.slices)).perfect == pytest.approx(3, rel=0.02)


def test_more_noise_than_by_the_interpolation_is_seen():
    shifts = drift()
    acquired = acquisition(shifts=shifts)
    images = registered(acquired.clean + acquired.noise, shifts, 3)
    assert measure(acquired, result(images)).noise_kept > 1.15  # linear was said
    noisy = images + np.random.default_rng(6).normal(0, 3, SHAPE)
    said = Interpolation("cubic", "whole")
    assert measure(acquired, result(noisy, interpolation=said)).noise_kept > 1.3


def test_slices_between_others_are_weighed_by_the_scheme():
    depths = np.array([2.0, 2.5, 7.5])
    ways = Interpolation("whole", "catmull-rom").weights(depths, np.arange(8.0))
    assert ways[0] == {2: 1.0}
    assert ways[1] == pytest.approx({1: -0.0625, 2: 0.5625, 3: 0.5625, 4: -0.0625})
    assert ways[2] == {7: 1.0}  # beyond the last one
    assert LINEAR.weights(depths, np.arange(8.0))[1] == {2: 0.5, 3: 0.5}


def test_a_gaussian_lowers_rms_but_neither_keeps_noise_nor_edges():
    noisy = acquisition(noise=8.0)
    smooth = ndimage.gaussian_filter(noisy.slices.astype(float), (0, 0.7, 0.7))
    before, found = (measure(noisy, result(each)) for each in (noisy.slices, smooth))
    assert found.rms < 0.8 * before.rms
    assert before.noise_kept == pytest.approx(1, abs=0.02)
    assert found.noise_kept < 0.5
    assert before.edge_width == pytest.approx(1, abs=0.03)
    assert found.edge_width > 1.1


def test_a_shift_of_the_whole_stack_is_no_error():
    move = (1.3, -2.4)
    images = np.stack([PLAIN.specimen.at(z, -move[0], -move[1]) for z in PLAIN.depths])
    assert align(PLAIN, result(images)).shift == pytest.approx(move, abs=0.02)
    assert measure(PLAIN, result(images)).rms < 0.4


@pytest.mark.parametrize("shifts", [None, drift()], ids=["fixed", "moving"])
def test_borders_and_voids_are_not_compared(shifts):
    acquired = acquisition(shifts=shifts)
    empty = np.zeros(SHAPE, bool)
    empty[:, :20], empty[:, 60:70, 50:70] = True, True
    noise = np.where(empty, 0, acquired.noise).astype(np.float32)
    acquired = replace(acquired, noise=noise, slices=np.where(empty, 0, acquired.slices))
    perfect = 0.8 * acquired.clean + 10
    stacks = perfect, np.where(empty, 0, perfect), np.where(empty, 250, perfect)
    if shifts is not None:
        stacks = tuple(registered(each, shifts) for each in stacks)
    known, *found = (measure(acquired, result(each)) for each in stacks)
    for each in found:
        assert each.rms == pytest.approx(known.rms, abs=0.1)
        assert (each.gain, each.offset) == pytest.approx((known.gain, known.offset), rel=0.01)
        assert each.misplaced == pytest.approx(known.misplaced, abs=0.05)
    assert not acquired.defect[empty].any()


def test_a_shift_of_one_slice_is_an_error():
    images = PLAIN.clean.copy()
    images[4] = PLAIN.specimen.at(4, -2, 0)
    found = measure(PLAIN, result(images))
    assert found.misplaced == pytest.approx(2 / np.sqrt(SHAPE[0]), abs=0.15)
    assert found.rms > 3


def test_gain_and_offset_are_those_of_the_result_and_no_error():
    scaled = measure(PLAIN, result(0.9 * PLAIN.slices + 12))
    plain = measure(PLAIN, result(PLAIN.slices))
    assert (scaled.gain, scaled.offset) == pytest.approx((0.9, 12), abs=0.1)
    assert scaled.rms == pytest.approx(plain.rms, rel=1e-3)
    assert scaled.noise_kept == pytest.approx(plain.noise_kept, rel=1e-3)


def test_a_window_of_the_truth_is_compared_where_it_lies():
    found = measure(PLAIN, result(PLAIN.clean[2:, 11:90, 7:100], PLAIN.depths[2:], 11, 7))
    assert found.rms == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("left", [1.0, 0.5, 0.0, -0.2])
def test_what_is_left_of_a_defect_is_told(left):
    vignette = 1 - 0.3 * np.linspace(-1, 1, SHAPE[2]) ** 2
    acquired = acquisition(defect=(vignette - 1) * PLAIN.clean + stripes())
    images = acquired.clean + acquired.noise + left * acquired.defect
    assert measure(acquired, result(1.1 * images)).defect_left == pytest.approx(left, abs=0.03)


def test_a_defect_is_followed_when_slices_are_registered():
    shifts = 3 * drift()
    acquired = acquisition(defect=stripes(width=2), shifts=shifts)
    found = measure(acquired, result(registered(acquired.slices.astype(np.float32), shifts)))
    assert found.defect_left == pytest.approx(1, abs=0.05)


def test_the_input_has_all_of_its_defect():
    acquired = acquisition(defect=stripes(width=2), shifts=3 * drift())
    found = measure_input(acquired, result(PLAIN.clean))
    assert found.defect_left == pytest.approx(1, abs=0.05)
    assert found.edge_width == pytest.approx(1, abs=0.05)
    assert found.misplaced > 1


def test_the_input_is_taken_at_the_depths_and_in_the_window_of_the_result():
    some = result(PLAIN.clean[:3, :50, :60], np.array([1.0, 2.5, 4.4]), 20, 30)
    linear, nearest = (input_as_result(PLAIN, some, way).images for way in (True, False))
    window = PLAIN.slices[:, 20:70, 30:90].astype(float)
    assert nearest == pytest.approx(window[[1, 2, 4]])
    assert linear[1] == pytest.approx(np.rint((window[2] + window[3]) / 2))


def test_the_input_is_interpolated_where_that_is_closer_to_the_truth():
    middle = result(PLAIN.clean, PLAIN.depths[:-1] + 0.5)
    ways = [align(PLAIN, input_as_result(PLAIN, middle, way)).residual for way in (True, False)]
    errors = [np.mean(each**2) for each in ways]
    assert np.mean(align_input(PLAIN, middle).residual ** 2) == min(errors)


def test_a_filter_of_stripes_that_takes_structure_along_is_told():
    acquired = acquisition(defect=stripes())
    filtered = acquired.slices - acquired.slices.mean(axis=1, keepdims=True)
    before, found = (measure(acquired, result(each)) for each in (acquired.slices, filtered))
    assert (before.defect_left, before.upright_kept) == pytest.approx((1, 1), abs=0.05)
    assert (found.defect_left, found.upright_kept) == pytest.approx((0, 0), abs=0.2)
    assert 0.6 < found.structure_kept < 0.98


def test_noise_kept_does_not_count_stripes():
    acquired = acquisition(defect=stripes())
    assert measure(acquired, result(acquired.slices)).noise_kept == pytest.approx(1, abs=0.02)


def test_jumps_are_those_of_the_mean_difference():
    flicker = np.where(np.arange(SHAPE[0]) % 2, 2.0, -2.0)[:, None, None]
    assert measure(PLAIN, result(PLAIN.clean + flicker)).jump == pytest.approx(4, rel=0.01)


def test_a_real_gradient_is_kept_or_flattened():
    acquired = acquisition(rise=0.1)
    means = acquired.clean[:, 8:-8, 8:-8].mean(axis=(1, 2), keepdims=True)
    kept, flat = (measure(acquired, result(acquired.clean - part * means)) for part in (0, 1))
    assert kept.gradient_kept == pytest.approx(1, abs=0.02)
    assert flat.gradient_kept == pytest.approx(0, abs=0.05)


def test_sharpness_that_changes_from_slice_to_slice_is_flicker():
    images = PLAIN.slices.astype(float)
    images[::2] = ndimage.gaussian_filter(images[::2], (0, 0.6, 0.6))
    assert measure(PLAIN, result(images)).flicker > 5


def test_bad_slices_count_as_errors_only():
    striped = acquisition(defect=stripes())
    lost = acquisition(defect=stripes(), bad=(4,))
    before, found = (measure(each, result(each.slices)) for each in (striped, lost))
    assert found.rms > before.rms + 10
    for name in ("gain", "noise_kept", "defect_left", "upright_kept", "edge_width"):
        assert getattr(found, name) == pytest.approx(getattr(before, name), abs=0.03)


def test_noise_of_the_reference_comes_from_good_slices():
    lost = acquisition(bad=(4,))
    noise = align(lost, result(PLAIN.clean)).noise
    inside = np.s_[8:-8, 8:-8]
    assert noise[4] == pytest.approx((lost.noise[3] + lost.noise[5])[inside] / 2, abs=0.1)


def test_sides_that_a_slice_does_not_show_are_left_out():
    shifts = np.zeros((SHAPE[0], 2))
    shifts[3] = 12, -9
    acquired = acquisition(shifts=shifts)
    found = align(acquired, result(PLAIN.clean))
    assert (found.rows, found.columns) == (slice(8, 84), slice(17, 108))


def test_a_result_without_common_pixels_is_refused():
    with pytest.raises(ValueError, match="grains: the result shows nothing that all slices show"):
        measure(PLAIN, result(PLAIN.clean[:, :20], top=95))


def test_what_cannot_be_told_is_not_a_number():
    silent = acquisition(noise=0.0)
    found = measure(silent, result(silent.slices))
    assert np.isnan((found.noise_kept, found.flicker, found.defect_left)).all()
    thin = np.linspace(0, 0.1, 3)
    flat = measure(silent, result(silent.truth(thin, slice(None), slice(None)), thin))
    single = measure(silent, result(silent.slices[:1]))
    assert np.isnan((flat.gradient_kept, single.gradient_kept, single.jump)).all()


def test_one_gain_for_all_slices_is_no_defect():
    darker = acquisition(defect=-0.2 * PLAIN.clean)
    assert np.isnan(measure(darker, result(darker.slices)).defect_left)


def test_a_result_without_contrast_is_measured():
    found = measure(PLAIN, result(np.full(SHAPE, 7)))
    assert found.gain == 0
    assert found.rms == pytest.approx(PLAIN.clean[:, 8:-8, 8:-8].std(), rel=1e-3)
    assert np.isnan(found.noise_kept)
