"""Sweeps: every cell as a run would make it, figures, and the best of them."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread
from stacks import WHOLE_CHAIN, images, make_project
from test_workbench import counting

from pystack3d_dask import open_result
from pystack3d_dask.demo import DemoStack, score
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.preview.quality import Quality

NOISE_LEVEL = "destriping.filters[0].noise_level"
MAXIT = "destriping.maxit"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = make_project(tmp_path_factory.mktemp("sweep"), WHOLE_CHAIN)
    Pipeline.from_toml(directory).run()
    return directory


def test_each_cell_is_what_a_run_with_its_parameters_leaves(project):
    pipeline = Pipeline.from_toml(project)
    found = pipeline.sweep({NOISE_LEVEL: [1, 20, 300], MAXIT: [3, 6]}, z=[0, 7])
    assert [tuple(cell.values.values()) for cell in found.cells] == [
        (1, 3), (1, 6), (20, 3), (20, 6), (300, 3), (300, 6),
    ]  # fmt: skip
    assert not found.labels
    result = open_result(project).values
    for index, z in enumerate(found.z):
        np.testing.assert_array_equal(found.cells[3].images[index], result[:, z])
    assert not np.array_equal(found.cells[5].images, found.cells[3].images)


def test_figures_are_those_of_the_images(project):
    pipeline = Pipeline.from_toml(project)
    found = pipeline.sweep({NOISE_LEVEL: [20, 300]}, z=[7, 0], area=(3, 40, 2, 30))
    cell = found.cells[0]
    assert cell.images.shape == (2, 1, 28, 37)
    own, before = (pipeline.preview(z=z, area=(3, 40, 2, 30)).after[0] for z in (7, 6))
    np.testing.assert_array_equal(cell.images[0, 0], own)
    assert cell.quality[0][0] == Quality.of(own, before)
    assert cell.score == np.mean([row[0].score for row in cell.quality])
    data = found.to_xarray()
    assert data.sizes == {NOISE_LEVEL: 2, "z": 2, "c": 1}
    assert (
        float(data.ncc.sel({NOISE_LEVEL: 300, "z": 7}).item()) == found.cells[1].quality[0][0].ncc
    )


def test_what_comes_before_the_changed_step_is_computed_once(project):
    def reads(grid):
        pipeline, source = counting(Pipeline.from_toml(project))
        pipeline.sweep(grid, z=[7])
        return len(source.slices)

    assert reads({MAXIT: [2, 3, 4, 5], NOISE_LEVEL: [1, 2]}) == reads({MAXIT: [2]}) <= 4


def test_fits_behind_a_change_are_estimated_in_all_cells(project):
    pipeline = Pipeline.from_toml(project)
    found = pipeline.sweep({"bkg_removal.orders": [[1, 2, 1], [0, 0, 0]]}, z=[7])
    names = ["bkg_removal", "intensity_rescaling", "registration_calculation"]
    assert [list(cell.estimated) for cell in found.cells] == [names, names]
    assert found.labels[0] == "bkg_removal estimated from 10 of 20 slices"
    assert list(found.to_xarray()["bkg_removal.orders"].values) == ["[1, 2, 1]", "[0, 0, 0]"]


@pytest.mark.parametrize("texture", ["porous", "cellular"])
def test_the_best_cell_is_near_the_truth(tmp_path, texture):
    """As near as the best one of all cells, or but a twentieth further away."""
    stack = DemoStack(
        shape=(4, 256, 256), texture=texture, border=0, shift=0, uneven=0, shading=0, flicker=0
    )
    stack.write(tmp_path / "demo")
    pipeline = Pipeline.from_toml(tmp_path / "demo", steps=["destriping"])
    found = pipeline.sweep({NOISE_LEVEL: [0.1, 2, 100]}, z=[1, 2, 3])
    truth = list(stack.truth(stack.z[1:]))
    errors = [score(cell.images[:, 0], truth).rmse for cell in found.cells]
    best = errors[found.cells.index(found.best)]
    assert best <= 1.05 * min(errors)
    assert max(errors) > 1.1 * min(errors)


def test_a_table_marks_the_best(project):
    found = Pipeline.from_toml(project).sweep({NOISE_LEVEL: [1, 300]})
    head, *lines = str(found).splitlines()
    assert head.split() == [
        NOISE_LEVEL, "along", "across", "sharpness", "histogram_distance", "ncc", "score",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines] == ["1", "300"]
    assert [line.endswith("best") for line in lines] == [cell is found.best for cell in found.cells]


def test_scores_that_hardly_differ_are_told(project):
    pipeline = Pipeline.from_toml(project)
    told = "note: all scores lie within 0.005: choose by the pictures"
    assert told in str(pipeline.sweep({NOISE_LEVEL: [20.0, 20.001]})).splitlines()
    assert told not in str(pipeline.sweep({NOISE_LEVEL: [1, 300]}))
    assert told not in str(pipeline.sweep({NOISE_LEVEL: [20]}))


def test_a_sweep_of_one_slice_has_no_score_but_pictures(tmp_path):
    steps = {"destriping": WHOLE_CHAIN["destriping"]}
    pipeline = Pipeline.from_toml(make_project(tmp_path, steps, images((1, 50, 64))))
    found = pipeline.sweep({MAXIT: [1, 2]})
    assert found.best is None
    head, *lines = str(found).splitlines()
    assert head.split() == [MAXIT, "along", "across", "sharpness"]
    assert "nan" not in str(found)
    assert not any(line.endswith("best") for line in lines)
    assert (
        lines[-1]
        == "note: no scores, for there is no slice to compare with: choose by the pictures"
    )
    figure = found.plot()
    assert [axes.get_title() for axes in figure.axes] == ["input", "maxit = 1", "maxit = 2"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), images((1, 50, 64))[0])
    assert not any(axes.spines["left"].get_visible() for axes in figure.axes[1:])
    assert found.save(tmp_path / "one.png").exists()


def test_nothing_is_best_where_all_cells_are_the_same(tmp_path):
    steps = {"destriping": WHOLE_CHAIN["destriping"]}
    stack = np.full((3, 50, 64), 7, np.uint8)
    found = Pipeline.from_toml(make_project(tmp_path, steps, stack)).sweep({MAXIT: [1, 2]})
    assert found.best is None
    assert "best" not in str(found)


def test_the_picture_has_a_frame_around_the_best(project, tmp_path):
    found = Pipeline.from_toml(project).sweep({NOISE_LEVEL: [1, 20, 50], MAXIT: [2, 6]}, z=[5])
    figure = found.plot()
    titles = [axes.get_title().splitlines()[:2] for axes in figure.axes]
    assert titles[1] == ["filters[0].noise_level = 20", "maxit = 2"]  # more columns than rows
    assert titles[3] == ["filters[0].noise_level = 1", "maxit = 6"]
    framed = [axes for axes in figure.axes if axes.spines["left"].get_visible()]
    assert len(figure.axes) == 6
    assert len(framed) == 1
    assert "(best)" in framed[0].get_title()
    assert min(imread(found.save(tmp_path / "new" / "sweep.png")).shape[:2]) > 300


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        ({}, {}, "values by path expected, found none"),
        ({MAXIT: []}, {}, "one value or more expected"),
        ({MAXIT: 5}, {}, "a list of values expected, found 5"),
        ({MAXIT: "12"}, {}, "a list of values expected, found '12'"),
        ({MAXIT: [5, 0]}, {}, "1 to 10000 expected, found 0"),
        ({"destriping.maxiter": [5]}, {}, "destriping.maxiter: leads nowhere"),
        ({MAXIT: range(1, 500)}, {}, "400 combinations at most expected, found 499"),
        ({MAXIT: [5]}, {"step": "cropping"}, "destriping: comes after cropping"),
        ({MAXIT: [5]}, {"step": "crop"}, "step: one of cropping"),
        ({MAXIT: [5]}, {"z": [99]}, "z: 0 to 14 expected, found 99"),
        ({MAXIT: [5]}, {"z": []}, "z: one slice or more expected, found none"),
        ({MAXIT: [5]}, {"area": (5, 5, 0, 9)}, "area: .* selects nothing"),
    ],
)
def test_what_is_wrong_is_said(project, grid, options, message):
    with pytest.raises(ParameterError, match=message):
        Pipeline.from_toml(project).sweep(grid, **options)
