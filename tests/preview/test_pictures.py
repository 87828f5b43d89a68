"""Pictures: what they show, on which scale, and what they say about it."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.offsetbox import TextArea

from pystack3d_dask.preview.pictures import preview_figure
from pystack3d_dask.preview.preview import Preview
from pystack3d_dask.preview.workbench import Estimate

ESTIMATED = {"bkg_removal": Estimate(24, 2000)}


def shown(width=300, unit="µm", pixel=0.01, **given):
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 100, (2, 2, 40, width), np.uint8)
    values = {
        "name": "slice_0001.tif",
        "step": "destriping",
        "channels": ("ESB", "SE2"),
        "before": before,
        "after": after + np.uint8(60),
        "extent": (0.0, width * pixel, 40 * pixel, 0.0),
        "unit": unit,
    }
    return Preview(**{**values, **given})


def test_each_channel_has_before_after_difference_and_histograms():
    figure = preview_figure(shown())
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    names = ["before", "after", "after - before", "gray levels"]
    assert titles == [f"{channel}, {name}" for channel in ("ESB", "SE2") for name in names]
    preview = shown()
    drawn = [axes.images[0].get_array() for axes in figure.axes[:3]]
    for image, expected in zip(
        drawn, (preview.before[0], preview.after[0], preview.difference[0]), strict=True
    ):
        np.testing.assert_array_equal(image, expected)


def test_a_difference_of_aligned_images_says_so():
    figure = preview_figure(shown(moved=shown().after))
    assert figure.axes[2].get_title() == "ESB, after - before, aligned"
    assert not figure.axes[2].images[0].get_array().any()


def test_before_and_after_have_the_same_gray_levels_and_differences_are_white_at_0():
    before, after, difference, _ = preview_figure(shown()).axes[:4]
    assert before.images[0].get_clim() == after.images[0].get_clim()
    low, high = difference.images[0].get_clim()
    assert low == -high < 0


@pytest.mark.parametrize(
    ("unit", "pixel", "label"),
    [("µm", 0.01, "500 nm"), ("µm", 0.05, "2 µm"), ("pixels", 1.0, "50 pixels")],
)
def test_the_scale_bar_is_of_a_round_length(unit, pixel, label):
    axes = preview_figure(shown(unit=unit, pixel=pixel)).axes[0]
    texts = [text.get_text() for area in axes.findobj(TextArea) for text in area.get_children()]
    assert texts == [label]


@pytest.mark.parametrize("top", [200, 60_000])
@pytest.mark.parametrize("shape", [(2, 40, 300), (1, 300, 300), (1, 300, 40)])
def test_nothing_is_cut_off_and_nothing_covers_anything_else(shape, top):
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, top, (2, *shape), np.uint16)
    channels = ("ESB", "SE2")[: shape[0]]
    preview = shown(before=before, after=after, channels=channels, estimated=ESTIMATED)
    figure = preview_figure(preview)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    for index, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:index])


def test_what_is_estimated_stands_in_the_picture():
    figure = preview_figure(shown(estimated=ESTIMATED))
    assert figure.get_supxlabel() == "bkg_removal estimated from 24 of 2000 slices"
    assert preview_figure(shown()).get_supxlabel() == ""


def test_large_images_are_drawn_by_the_means_of_squares():
    preview = shown(2400)
    drawn = preview_figure(preview).axes[0].images[0].get_array()
    expected = preview.before[0, :39].reshape(13, 3, 800, 3).mean((1, 3))
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


def test_images_of_one_gray_level_can_be_drawn(tmp_path):
    flat = np.full((1, 20, 30), 7, np.uint8)
    preview = shown(channels=("ESB",), before=flat, after=flat)
    assert preview.save(tmp_path / "flat.png").stat().st_size > 5000
