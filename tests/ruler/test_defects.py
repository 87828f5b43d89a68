"""Defects of stacks: each has the values that it names, where it belongs and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ruler.acquired import WHITE
from ruler.defects import (
    NO_DATA,
    ORDER,
    BlackLevel,
    Border,
    Curtains,
    Defect,
    EdgeShadow,
    Faces,
    FocusSawtooth,
    GainDrift,
    GainJumps,
    GammaJumps,
    ObjectHalo,
    OffsetJumps,
    Polynomial,
    PoreHalo,
    RowOffsets,
    ShineThrough,
    Stripes,
    TrendAlongZ,
    Vignetting,
    Voids,
    damaged,
)

Array = np.ndarray
SHAPE = 8, 60, 70

ONE_OF_EACH: tuple[Defect, ...] = (
    ShineThrough(),
    Curtains(3),
    Stripes(3, angles=(2.0,)),
    PoreHalo(20),
    ObjectHalo(20),
    EdgeShadow(20),
    Vignetting(0.4),
    Polynomial(40),
    TrendAlongZ(30),
    FocusSawtooth(2),
    RowOffsets(2),
    GainDrift(0.2),
    GainJumps(0.8, 1.2),
    OffsetJumps(10),
    GammaJumps(0.9, 1.1),
    BlackLevel(10),
    Voids(0.1),
    Border(0.1),
)
EACH = pytest.mark.parametrize("defect", ONE_OF_EACH, ids=lambda each: type(each).__name__)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def with_pore(shape: tuple[int, int, int] = SHAPE, shifts: Array | None = None) -> Faces:
    """Return gray faces with a dark block in rows 20 to 29, columns 30 to 49 of all slices."""
    pores = np.zeros(shape, bool)
    pores[:, 20:30, 30:50] = True
    clean = np.where(pores, 50, 120).astype(np.float32)
    return Faces(clean, pores, np.zeros((shape[0], 2)) if shifts is None else shifts)


def flat(shape: tuple[int, int, int] = SHAPE, level: float = 100) -> Faces:
    clean = np.full(shape, level, np.float32)
    return Faces(clean, np.zeros(shape, bool), np.zeros((shape[0], 2)))


def added(defect: Defect, faces: Faces, seed: int = 1) -> Array:
    return defect.damage(faces.clean, faces, rng(seed)) - faces.clean


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def neighbors_correlation(field: Array) -> float:
    return float(np.corrcoef(field[:-1].ravel(), field[1:].ravel())[0, 1])


@EACH
def test_a_defect_changes_a_stack_into_a_new_one(defect: Defect) -> None:
    faces = with_pore()
    faces.pores[1::2] = False
    faces.clean[1::2] = 120
    kept = faces.clean.copy()
    faces.clean.flags.writeable = faces.pores.flags.writeable = False
    changed = defect.damage(faces.clean, faces, rng())
    np.testing.assert_array_equal(faces.clean, kept)
    assert changed.dtype == np.float32
    assert changed.shape == SHAPE
    assert np.abs(changed - kept).max() > 1


@EACH
def test_the_random_numbers_decide_a_defect(defect: Defect) -> None:
    faces = with_pore()
    first, again = (defect.damage(faces.clean, faces, rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_every_defect_has_a_place_in_the_order() -> None:
    assert {type(each) for each in ONE_OF_EACH} == set(ORDER)


@pytest.mark.parametrize("levels", [40, 90])
def test_a_polynomial_has_its_levels_from_darkest_to_brightest(levels: float) -> None:
    field = added(Polynomial(levels), flat())
    assert np.ptp(field) == pytest.approx(levels, rel=0.02)
    t = np.linspace(-1, 1, SHAPE[1])
    left = field[3, :, 9] - np.polyval(np.polyfit(t, field[3, :, 9], 2), t)
    assert np.abs(left).max() < 1e-2


def test_a_multiplicative_polynomial_grows_with_the_signal() -> None:
    faces = with_pore()
    gain = Polynomial(40, multiplicative=True).damage(faces.clean, faces, rng()) / faces.clean
    assert np.ptp(gain) * faces.level == pytest.approx(40, rel=0.02)
    assert np.abs(np.diff(gain, axis=1)).max() < 0.03  # nothing is seen of the pore's edge


def test_vignetting_loses_its_share_at_corners_and_nothing_in_the_middle() -> None:
    gain = Vignetting(0.5).damage(flat().clean, flat(), rng()) / 100
    corners = gain[0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.mean() == pytest.approx(0.5, abs=0.01)
    assert gain.max() == pytest.approx(1, abs=1e-3)


def test_a_black_level_is_added_everywhere() -> None:
    np.testing.assert_array_equal(added(BlackLevel(12), with_pore()), 12)


def test_a_trend_rises_by_its_levels_and_is_the_same_in_a_slice() -> None:
    field = added(TrendAlongZ(50), flat())
    assert np.ptp(field, axis=(1, 2)).max() == 0
    assert (np.diff(field[:, 0, 0]) > 0).all()
    assert field[-1, 0, 0] - field[0, 0, 0] == pytest.approx(50, abs=1e-3)
    assert field.mean() == pytest.approx(0, abs=1e-4)


def test_a_halo_is_brightest_on_its_object_and_has_a_tail_along_the_scan() -> None:
    field = added(ObjectHalo(60), flat((2, 100, 100)))[0]
    assert field.max() == pytest.approx(60, abs=1e-3)
    y, x = (int(np.median(each)) for each in np.nonzero(field > 59.9))
    assert field[y, x + 25] > field[y, x - 25] + 5
    assert field[y + 25, x] == pytest.approx(field[y - 25, x], abs=2)


def test_a_halo_goes_with_the_specimen() -> None:
    shape = 2, 100, 100
    faces = replace(flat(shape), shifts=np.array([[0, 0], [4, -3]]))
    first, moved = added(ObjectHalo(60), faces)
    np.testing.assert_allclose(moved[4:, :-3], first[:-4, 3:], atol=1e-4)


def test_pores_charge_what_is_around_them_more_on_the_right() -> None:
    field = added(PoreHalo(20, reach=2, recovery=8), with_pore())[0]
    assert field[25, 54] > 3 * field[25, 25] > 0
    assert field[50].max() < 1e-3
    assert field[25].max() == pytest.approx(20, rel=0.2)


def test_the_halo_of_a_pore_reaches_the_edge_where_the_scan_begins() -> None:
    faces = replace(flat(), pores=np.ones(SHAPE, bool))
    np.testing.assert_allclose(added(PoreHalo(20), faces), 20, atol=1e-3)


def test_an_edge_shadow_is_darkest_in_the_last_row() -> None:
    field = added(EdgeShadow(40), flat())
    np.testing.assert_allclose(field[:, -1], -40, atol=1e-3)
    assert (np.diff(field[0, :, 0]) < 0).all()


def test_the_solid_below_shines_through_pores_only_and_weaker_from_deeper() -> None:
    faces = with_pore((6, 60, 70))
    faces.pores[3:] = False
    faces.clean[3:] = 120
    out = ShineThrough(0.9, depth=4).damage(faces.clean, faces, rng())
    np.testing.assert_array_equal(out[~faces.pores], faces.clean[~faces.pores])
    inside = out[:3, 22, 40]
    np.testing.assert_allclose(inside, [50 + 4, 81, 108], atol=1e-3)


def test_the_nearest_solid_hides_what_is_below_it() -> None:
    faces = with_pore((3, 60, 70))
    faces.pores[1:] = False
    faces.clean[1:] = np.array([80, 200])[:, None, None]
    out = ShineThrough(1.0, depth=4).damage(faces.clean, faces, rng())
    assert out[0, 22, 40] == 80


def test_shine_through_follows_the_drift() -> None:
    faces = with_pore((2, 60, 70), np.array([[0.0, 0.0], [0.0, 12.0]]))
    faces.pores[1] = np.roll(faces.pores[0], 12, axis=1)
    faces.clean[1] = np.roll(faces.clean[0], 12, axis=1)
    np.testing.assert_array_equal(added(ShineThrough(), faces), 0)


def test_gains_lie_between_their_bounds_for_a_share_of_the_slices() -> None:
    gain = GainJumps(0.8, 0.9, 0.25).damage(flat().clean, flat(), rng())[:, 0, 0] / 100
    assert np.count_nonzero(gain == 1) == 6
    assert ((gain == 1) | ((0.8 <= gain) & (gain <= 0.9))).all()


def test_offsets_lie_between_their_bounds() -> None:
    offsets = added(OffsetJumps(10), with_pore((40, 60, 70)))
    assert np.ptp(offsets, axis=(1, 2)).max() < 1e-4
    assert 8 < np.abs(offsets).max() <= 10
    assert offsets.min() < 0 < offsets.max()


def test_a_gamma_jump_keeps_black_and_white() -> None:
    faces = flat()
    faces.clean[:, 0], faces.clean[:, 1] = 0, WHITE
    out = GammaJumps(1.2, 1.2).damage(faces.clean, faces, rng())
    np.testing.assert_array_equal(out[:, :2], faces.clean[:, :2])
    np.testing.assert_allclose(out[:, 2:], WHITE * (100 / WHITE) ** 1.2, rtol=1e-5)


def test_a_gain_drifts_slowly_over_its_spread() -> None:
    gain = GainDrift(0.2).damage(flat((100, 4, 4)).clean, flat((100, 4, 4)), rng())[:, 0, 0] / 100
    assert np.ptp(gain) == pytest.approx(0.2, rel=0.01)
    assert np.abs(np.diff(gain)).max() < 0.01


def test_long_stripes_have_their_rms_and_are_the_same_in_all_rows() -> None:
    field = added(Stripes(10), with_pore())
    assert rms(field) == pytest.approx(10, rel=1e-3)
    assert np.ptp(field, axis=1).max() < 1e-3


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_stripes_correlate_along_z_as_they_should(share: float) -> None:
    field = added(Stripes(10, along_z=share), flat((200, 4, 300)))[:, 0]
    assert neighbors_correlation(field) == pytest.approx(share, abs=0.05)


def test_short_stripes_are_forgotten_beyond_their_length() -> None:
    field = added(Stripes(10, length=20), flat((8, 300, 200)))

    def alike(rows: int) -> float:
        return float(np.corrcoef(field[:, rows:].ravel(), field[:, :-rows].ravel())[0, 1])

    assert alike(5) > 0.85
    assert abs(alike(60)) < 0.1


def test_wide_stripes_are_wide() -> None:
    def correlated(width: float, pixels: int) -> float:
        field = added(Stripes(10, width=width), flat((40, 2, 300)))
        return float(np.corrcoef(field[..., pixels:].ravel(), field[..., :-pixels].ravel())[0, 1])

    assert correlated(16, 8) > 0.6
    assert abs(correlated(2, 8)) < 0.1


@pytest.mark.parametrize("angle", [-3.0, 3.0])
def test_tilted_stripes_lean_by_their_angle(angle: float) -> None:
    field = added(Stripes(10, width=4, angles=(angle,)), flat((4, 200, 200)))
    moved = round(100 * np.tan(np.deg2rad(angle)))

    def alike(pixels: int) -> float:
        upper, lower = field[:, 50, 20:180], np.roll(field[:, 150], -pixels, axis=-1)[:, 20:180]
        return float(np.corrcoef(upper.ravel(), lower.ravel())[0, 1])

    assert alike(moved) > 0.95
    assert abs(alike(-moved)) < 0.5


def test_stripes_of_two_angles_share_their_strength() -> None:
    field = added(Stripes(10, angles=(-20.0, 20.0)), flat((8, 120, 120)))
    assert rms(field) == pytest.approx(10, rel=1e-3)
    power = np.abs(np.fft.fft2(field)).astype(np.float64) ** 2
    ky, kx = np.fft.fftfreq(120)[:, None], np.fft.fftfreq(120)
    shares = [power[:, sign * ky * kx > 0].sum() / power.sum() for sign in (-1, 1)]
    assert shares == pytest.approx([0.5, 0.5], abs=0.15)


def test_curtains_begin_at_interfaces_and_hang_below_them_only() -> None:
    field = added(Curtains(3), with_pore())
    assert rms(field) == pytest.approx(3, rel=1e-3)
    assert not field[:, :20].any()
    assert not field[:, :, :30].any()
    assert not field[:, :, 50:].any()
    assert field[:, 31:, 30:50].any(axis=1).mean() > 0.99


def test_curtains_fade_on_the_way_down() -> None:
    field = added(Curtains(3, length=10), with_pore((8, 100, 70)))
    np.testing.assert_allclose(field[:, 45], field[:, 35] * np.exp(-1), atol=1e-3)


def test_a_specimen_without_interfaces_has_no_curtains() -> None:
    assert not added(Curtains(3), flat()).any()


@pytest.mark.parametrize(("persistence", "low", "high"), [(3.0, 0.4, 0.93), (40.0, 0.97, 1.0)])
def test_curtains_persist_over_slices(persistence: float, low: float, high: float) -> None:
    field = added(Curtains(3, persistence=(persistence,)), with_pore((60, 60, 70)))
    assert low < neighbors_correlation(field) <= high


def test_curtains_move_with_the_specimen() -> None:
    shifts = np.array([[0, 0], [0, 5]], float)
    faces = with_pore((2, 60, 70), shifts)
    for each in (faces.clean, faces.pores):
        each[1] = np.roll(each[0], 5, axis=1)
    first, moved = added(Curtains(3, persistence=(1e6,)), faces)
    np.testing.assert_allclose(moved[:, 35:55], first[:, 30:50], atol=1e-2)


def test_rows_have_an_offset_each() -> None:
    field = added(RowOffsets(3), flat((20, 200, 4)))
    assert np.ptp(field, axis=2).max() < 1e-4
    assert rms(field) == pytest.approx(3, rel=0.05)
    assert abs(np.corrcoef(field[:, 1:, 0].ravel(), field[:, :-1, 0].ravel())[0, 1]) < 0.1


def test_focus_is_lost_step_by_step_and_set_again() -> None:
    faces = with_pore((9, 60, 70))
    out = FocusSawtooth(2, period=4).damage(faces.clean, faces, rng())
    slopes = np.abs(np.diff(out, axis=1)).max(axis=(1, 2))
    for focused in (0, 4, 8):
        np.testing.assert_array_equal(out[focused], faces.clean[focused])
    assert (np.diff(slopes[:4]) < 0).all()
    np.testing.assert_array_equal(slopes[:4], slopes[4:8])


def test_a_border_is_exactly_zero_and_the_inside_untouched() -> None:
    faces = with_pore()
    out = Border(0.1).damage(faces.clean, faces, rng())
    inner = np.s_[:, 6:-6, 3:-3]
    np.testing.assert_array_equal(out[inner], faces.clean[inner])
    out[inner] = 0
    assert not out.any()


def test_voids_are_zero_in_their_share_of_pixels_at_the_same_places() -> None:
    empty = Voids(0.2).damage(flat().clean, flat(), rng()) == NO_DATA
    assert empty.mean() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_array_equal(empty, np.broadcast_to(empty[0], SHAPE))


def test_defects_happen_in_their_order_and_not_in_that_of_the_list() -> None:
    faces = with_pore()
    defects = (Border(0.1), GainJumps(1.2, 1.2), Stripes(5))
    out = damaged(faces, defects, 1)
    np.testing.assert_array_equal(out, damaged(faces, defects[::-1], 1))
    assert not out[:, 0].any()
    stripes = damaged(faces, defects[2:], 1) - faces.clean
    expected = 1.2 * (faces.clean + stripes)[:, 30, 3:-3]
    np.testing.assert_allclose(out[:, 30, 3:-3], expected, rtol=1e-5)


def test_faces_without_defects_are_copied() -> None:
    faces = with_pore()
    out = damaged(faces, (), 1)
    np.testing.assert_array_equal(out, faces.clean)
    assert not np.shares_memory(out, faces.clean)


def test_a_defect_that_is_left_out_leaves_the_others_as_they_are() -> None:
    faces = with_pore()
    with_stripes = damaged(faces, (Stripes(5), OffsetJumps(10)), 1)
    without = damaged(faces, (OffsetJumps(10),), 1)
    stripes = damaged(faces, (Stripes(5),), 1) - faces.clean
    np.testing.assert_allclose(with_stripes - without, stripes, atol=1e-4)
