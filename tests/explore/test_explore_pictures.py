"""The pictures: what is in their panels, where it lies, and what was loaded for it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from conftest import textured
from counting import CountingArray, placed
from PIL import Image

import pystack3d_dask as ps
from pystack3d_dask import explore
from pystack3d_dask.errors import StackError

SHAPE = (12, 40, 60)
VALUES = textured(SHAPE)
Z = np.arange(12) * 0.02


def images(figure) -> list[np.ndarray]:
    return [np.asarray(shown.get_array()) for axes in figure.axes for shown in axes.images]


def texts(figure) -> set[str]:
    found = {text.get_text() for axes in figure.axes for text in axes.texts}
    return found | {text.get_text() for text in figure.texts}


def inches(figure, axes) -> tuple[float, float]:
    spot = axes.get_position()
    width, height = figure.get_size_inches()
    return spot.width * width, spot.height * height


def test_planes_are_those_of_the_stack_at_their_place():
    figure = explore.planes(placed(VALUES, Z), z=3, y=5, x=7)
    for found, expected in zip(
        images(figure), (VALUES[3], VALUES[:, 5], VALUES[:, :, 7].T), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    extents = [axes.images[0].get_extent() for axes in figure.axes]
    expected = [(-5, 595, 395, -5), (-5, 595, 230, -10), (-10, 230, 395, -5)]
    np.testing.assert_allclose(np.multiply(extents, 1000), expected, atol=1e-6)
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]
    assert labels == [("", "y (µm)"), ("x (µm)", "z (µm)"), ("z (µm)", "")]
    assert texts(figure) >= {"z = 0.06 µm", "x = 0.07 µm"}


def test_planes_are_as_wide_and_high_on_paper_as_in_the_specimen():
    figure = explore.planes(placed(VALUES, Z, dy=0.02, dx=0.01))
    sizes = [inches(figure, axes) for axes in figure.axes]
    scale = sizes[0][0] / 0.6
    np.testing.assert_allclose(sizes, np.multiply([(0.6, 0.8), (0.6, 0.24), (0.24, 0.8)], scale))
    np.testing.assert_allclose(max(sizes[0][1] + sizes[1][1], sizes[0][0] + sizes[2][0]), 8)


def test_thin_panels_have_no_ticks_that_would_overlap():
    figure = explore.planes(placed(VALUES[:2], Z[:2]))
    xy, xz, zy = figure.axes
    assert len(xz.get_yticks()) == len(zy.get_xticks()) == 0
    assert (xz.get_xlabel(), xz.get_ylabel(), zy.get_xlabel()) == ("x (µm)", "", "")
    assert len(xy.get_yticks()) > 2


def test_lines_cross_where_the_other_planes_are():
    figure = explore.planes(placed(VALUES, Z), z=3, y=5, x=7)
    (across,), (up,) = (
        [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_xdata()[0] == 0],
        [line.get_xdata()[0] for line in figure.axes[1].lines if line.get_ydata()[0] == 0],
    )
    assert across == pytest.approx(0.05)
    assert up == pytest.approx(0.07)


def test_planes_load_three_planes_and_nothing_else():
    counting = CountingArray(VALUES)
    explore.planes(placed(counting, Z))
    assert counting.loaded == 40 * 60 + 12 * 60 + 12 * 40


def test_of_a_deep_stack_planes_load_every_nth_slice():
    counting = CountingArray(textured((50, 20, 20)))
    explore.planes(counting, most=20)
    assert counting.loaded == 20 * 20 + 2 * (17 * 20)


def test_all_planes_share_their_gray_limits():
    figure = explore.planes(VALUES)
    limits = {axes.images[0].get_clim() for axes in figure.axes}
    pixels = np.concatenate([image.ravel() for image in images(figure)])
    assert limits == {tuple(np.percentile(pixels, (0.5, 99.5)))}
    figure = explore.planes(VALUES, limits=(3, 200))
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(3, 200)}


def test_a_montage_has_every_nth_slice_and_loads_these():
    counting = CountingArray(VALUES)
    figure = explore.montage(placed(counting, Z), every=5, columns=2)
    for found, z in zip(images(figure), (0, 5, 10), strict=True):
        np.testing.assert_array_equal(found, VALUES[z])
    assert counting.loaded == 3 * 40 * 60
    assert texts(figure) >= {
        "z = 0.00 µm",
        "z = 0.10 µm",
        "z = 0.20 µm",
    }
    assert any(text.startswith("every 5th of 12 slices") for text in texts(figure))
    assert len({axes.images[0].get_clim() for axes in figure.axes}) == 1
    lefts = {round(axes.get_position().x0, 3) for axes in figure.axes}
    assert len(lefts) == 2


@pytest.mark.parametrize(("slices", "panels"), [(1, 1), (7, 7), (20, 20), (21, 11), (200, 20)])
def test_a_montage_has_twenty_panels_or_fewer(slices, panels):
    figure = explore.montage(np.zeros((slices, 6, 8), np.uint8))
    assert len(figure.axes) == panels


@pytest.mark.parametrize("wrong", [{"every": 0}, {"columns": -1}])
def test_a_montage_of_nothing_is_refused(wrong):
    with pytest.raises(StackError, match="1 or more expected"):
        explore.montage(VALUES, **wrong)


def test_a_box_shows_the_slice_and_the_faces_behind_it():
    counting = CountingArray(VALUES)
    figure = explore.box(placed(counting, Z), 4)
    top, side, front = images(figure)
    np.testing.assert_array_equal(front, VALUES[4])
    np.testing.assert_array_equal(top, VALUES[4:, 0])
    np.testing.assert_array_equal(side, VALUES[4:, :, -1])
    assert counting.loaded == 40 * 60 + 12 * (60 + 40)
    assert texts(figure) == {"z = 0.08 µm", "z: 0.24 µm", "y: 0.4 µm", "x: 0.6 µm"}


def test_without_faces_a_box_loads_its_slice_alone():
    counting = CountingArray(VALUES)
    figure = explore.box(counting, faces=False)
    (front,) = images(figure)
    np.testing.assert_array_equal(front, VALUES[6])
    assert counting.loaded == front.size
    assert "z: 12 slices" in texts(figure)


@pytest.mark.parametrize("z", [0, 11])
def test_the_outer_slices_have_a_box_too(z):
    np.testing.assert_array_equal(images(explore.box(VALUES, z))[-1], VALUES[z])


@pytest.mark.parametrize("log", [False, True])
def test_a_histogram_is_drawn_with_its_cumulative_distribution(log):
    figure = explore.histogram(VALUES, log=log)
    counts, twin = figure.axes
    (patch,) = counts.patches
    drawn, edges, _ = patch.get_data()
    expected, _ = np.histogram(VALUES, edges)
    np.testing.assert_allclose(drawn, 100 * expected / VALUES.size)
    (line,) = twin.lines
    np.testing.assert_allclose(line.get_ydata(), np.cumsum(drawn))
    assert counts.get_yscale() == ("log" if log else "linear")
    assert counts.get_title("left") == "12 of 12 slices: all of 28800 voxels"


def test_stacks_are_compared_in_one_slice_which_is_all_that_is_loaded():
    counting = CountingArray(VALUES)
    stack = placed(counting, Z)
    stacks = {"as acquired": stack, "brighter": ps.correct(stack, ps.Gamma(gamma=0.5))}
    figure = explore.compare(stacks, z=2, limits=(0, 255))
    before, after = images(figure)
    np.testing.assert_array_equal(before, VALUES[2])
    np.testing.assert_allclose(after, 255 * (VALUES[2] / 255) ** 0.5, rtol=1e-5)
    assert [axes.get_title() for axes in figure.axes if axes.images] == list(stacks)
    for image, axes in zip((before, after), figure.axes[1::3], strict=True):
        drawn, edges, _ = axes.patches[0].get_data()
        np.testing.assert_allclose(drawn, 100 * np.histogram(image, edges)[0] / image.size)
    with pytest.raises(StackError, match="one stack or more"):
        explore.compare({})


def test_the_scale_bar_is_as_long_as_it_says():
    figure = explore.planes(placed(VALUES, Z))
    figure.canvas.draw()
    axes = figure.axes[0]
    white = [patch for patch in axes.findobj() if getattr(patch, "get_width", None)]
    lengths = [p.get_window_extent().width for p in white if p.get_facecolor() == (1, 1, 1, 1)]
    assert axes.bbox.width / 0.6 * 0.1 == pytest.approx(min(lengths))


def test_a_picture_can_be_saved_and_shown_without_pyplot(tmp_path):
    figure = explore.montage(VALUES)
    with Image.open(io.BytesIO(figure._repr_png_())) as shown:
        size = shown.size
        assert len(set(shown.convert("L").tobytes())) > 50
    assert size == tuple(round(120 * side) for side in figure.get_size_inches())
    figure.savefig(tmp_path / "slide.pdf")
    assert (tmp_path / "slide.pdf").read_bytes().startswith(b"%PDF")


def test_the_result_of_a_run_is_looked_at_level_by_level(make_project):
    project = make_project("process_steps = []", shape=(9, 20, 1100))
    ps.Pipeline.from_toml(project).run()
    fine, coarse = (ps.open_result(project, level) for level in (0, 1))
    assert coarse.sizes["x"] < fine.sizes["x"]
    shown = [explore.planes(each).axes[0].images[0].get_extent() for each in (fine, coarse)]
    np.testing.assert_allclose(shown[0], shown[1], atol=1.01)
    with pytest.raises(StackError, match=r"a level from 0 to \d+ expected, found 9"):
        ps.open_result(project, 9)


def test_a_stack_of_floats_with_bad_pixels_is_drawn():
    values = VALUES.astype(np.float32)
    values[6, 3, 4] = np.nan
    stack = xr.DataArray(values, dims=("z", "y", "x"))
    for figure in (explore.planes(stack), explore.montage(stack), explore.histogram(stack)):
        assert figure._repr_png_().startswith(b"\x89PNG")
