"""The view for notebooks, its sliders moved."""

from __future__ import annotations

import builtins
import io

import numpy as np
import pytest
from matplotlib.image import imread
from stacks import WHOLE_CHAIN, make_project
from test_workbench import counting

from pystack3d_dask.errors import StackError
from pystack3d_dask.pipeline import Pipeline

NOISE_LEVEL = "destriping.filters[0].noise_level"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = make_project(tmp_path_factory.mktemp("widget"), WHOLE_CHAIN)
    Pipeline.from_toml(directory).run()
    return directory


@pytest.fixture
def view(project):
    return Pipeline.from_toml(project).preview_widget(z=7, step="destriping")


def test_it_shows_the_slice_and_has_the_parameters_of_the_step(view, project):
    expected = Pipeline.from_toml(project).preview(z=7, step="destriping")
    np.testing.assert_array_equal(view.preview.after, expected.after)
    assert imread(io.BytesIO(view.picture.value)).shape[1] > 1000
    assert {type(control).__name__ for control in view.controls.values()} == {
        "Dropdown", "FloatLogSlider", "FloatSlider", "IntSlider",
    }  # fmt: skip
    assert view.controls[NOISE_LEVEL].value == 20
    assert view.controls["destriping.backend"].options == ("native", "pyvsnr")
    assert view.changes == {}


def test_moving_a_slider_changes_picture_and_pipeline(view, project):
    before = view.picture.value
    view.controls[NOISE_LEVEL].value = 500
    assert view.picture.value != before
    assert view.changes == {NOISE_LEVEL: 500}
    assert f"{NOISE_LEVEL} = 500" in view.message.value
    changed = Pipeline.from_toml(project).with_parameters(view.changes)
    assert view.pipeline.corrections == changed.corrections
    np.testing.assert_array_equal(view.preview.after, changed.preview(z=7, step="destriping").after)
    view.controls[NOISE_LEVEL].value = 20
    assert view.picture.value == before
    assert view.changes == {}


def test_another_slice_is_shown(view):
    view.z.value = 3
    assert view.preview.name.startswith("slice_0003")


def test_what_is_wrong_is_said_and_the_picture_stays(view):
    before = view.picture.value
    view.controls["destriping.maxit"].value = 0
    assert "destriping.maxit: 1 to 10000 expected, found 0" in view.message.value
    assert view.picture.value == before
    view.controls["destriping.maxit"].value = 3
    assert "expected" not in view.message.value
    assert view.picture.value != before


def test_every_step_has_a_view(project):
    pipeline = Pipeline.from_toml(project)
    for step in pipeline.project.steps:
        assert pipeline.preview_widget(step=step.name).controls


def test_truths_have_boxes(project):
    view = Pipeline.from_toml(project).preview_widget(step="bkg_removal")
    assert view.controls["bkg_removal.cross_terms"].value is True
    view.controls["bkg_removal.cross_terms"].value = False
    assert view.preview.labels == ("bkg_removal estimated from 10 of 20 slices",)
    assert "bkg_removal.cross_terms = false" in view.message.value


def test_another_value_reads_nothing_but_what_stands_before(project):
    pipeline, source = counting(Pipeline.from_toml(project))
    view = pipeline.preview_widget(z=7, step="destriping")
    source.slices.clear()
    view.controls[NOISE_LEVEL].value = 100
    assert source.slices == [7]  # before, in the picture


def test_notebooks_show_it(view):
    assert "application/vnd.jupyter.widget-view+json" in view._repr_mimebundle_()


def test_without_ipywidgets_it_is_said_how_to_get_them(project, monkeypatch):
    found = builtins.__import__

    def missing(name, *rest):
        if name == "ipywidgets":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(StackError, match=r"pip install 'pystack3d-dask\[notebook\]'"):
        Pipeline.from_toml(project).preview_widget()
