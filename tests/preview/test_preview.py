"""One slice through the chain, and its picture."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import tifffile
from matplotlib.image import imread
from stacks import STEPS, images, make_project, write_params

from pystack3d_dask import open_result, open_stack
from pystack3d_dask.cli.main import cli
from pystack3d_dask.core.registry import registry
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.preview.preview import preview
from pystack3d_dask.preview.quality import stripe_energy
from pystack3d_dask.preview.workbench import Workbench

ALL = [name for name in STEPS if name not in ("intensity_rescaling_area", "cropping_final")]
CHANNELS = ("ESB", "SE2")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    stacks = {name: images(seed=seed) for seed, name in enumerate(CHANNELS)}
    directory = make_project(tmp_path_factory.mktemp("preview"), ALL, stacks)
    Pipeline.from_toml(directory).run()
    return directory


@pytest.mark.parametrize("z", [0, 7, None])
def test_a_slice_comes_out_as_the_run_left_it(project, z):
    shown = Pipeline.from_toml(project).preview(z=z)
    result = open_result(project)
    index = result.sizes["z"] // 2 if z is None else z
    np.testing.assert_array_equal(shown.after, result.isel(z=index))
    assert shown.channels == CHANNELS
    assert shown.name == f"slice_{index:04d}_z={index * 0.013:.4f}um.tif"


def test_before_is_the_same_part_of_the_acquisition(project):
    shown = Pipeline.from_toml(project).preview(z=6, area=(2, 22, 3, 18))
    assert shown.before.shape == shown.after.shape == (2, 15, 20)
    result = open_result(project).isel(z=6)[:, -18:-3, 2:22]
    np.testing.assert_array_equal(shown.after, result)
    source = open_stack(project, channels=CHANNELS).isel(z=8)  # 0.08 is nearest to 0.078
    rows, columns = (result[axis].values.astype(int) for axis in ("y", "x"))
    np.testing.assert_array_equal(shown.before, source.values[:, rows][:, :, columns])


def test_the_chain_can_stop_after_any_step(project):
    shown = Pipeline.from_toml(project).preview(z=3, step="cropping")
    stack = open_stack(project, channels=CHANNELS).isel(z=3)
    np.testing.assert_array_equal(shown.after, stack[:, 50 - 48 : 50 - 5, 3:60])
    np.testing.assert_array_equal(shown.after, shown.before)
    assert (shown.step, shown.name) == ("cropping", "slice_0003_z=0.0300um.tif")


def test_fits_that_are_missing_are_estimated_and_named(tmp_path):
    directory = make_project(tmp_path, ["cropping", "bkg_removal"])
    pipeline = Pipeline.from_toml(directory)
    shown = pipeline.preview()
    assert shown.labels == ("bkg_removal estimated from 10 of 20 slices",)
    assert not pipeline.preview(step="cropping").estimated
    assert not (directory / "process").exists()
    pipeline.fit()
    assert not pipeline.preview().estimated


@pytest.mark.parametrize("step", ["bkg_removal", None])
def test_the_difference_is_signed(project, step):
    shown = Pipeline.from_toml(project).preview(z=6, step=step)
    assert (shown.moved is None) == (step is not None)  # until slices are aligned
    expected = shown.after.astype(int) - (shown.before if step else shown.moved)
    np.testing.assert_array_equal(shown.difference, expected)
    assert expected.min() < 0 < expected.max()


def test_an_area_that_is_clipped_is_told(tmp_path):
    pipeline = Pipeline.from_toml(make_project(tmp_path, {"cropping": {}}))
    with pytest.warns(UserWarning, match="area: .* is clipped to"):
        pipeline.preview(z=0, area=(0, 9000, 0, 9))


@pytest.mark.parametrize("precision", ["float32", "source"])
@pytest.mark.parametrize("area", [None, (2, 22, 3, 18)])
def test_what_only_moves_makes_no_difference(tmp_path, precision, area):
    moving = [name for name in ALL if registry()[name].only_moves]
    assert len(moving) == 4
    directory = make_project(tmp_path, moving, precision=precision)
    pipeline = Pipeline.from_toml(directory)
    pipeline.run()
    shown = pipeline.preview(z=6, area=area)
    assert not shown.difference.any()
    assert (shown.after != shown.before).any()


def test_what_is_moved_is_what_a_run_of_the_steps_that_move_leaves(tmp_path):
    moving = [name for name in ALL if registry()[name].only_moves]
    ours = make_project(tmp_path / "ours", [*moving, "bkg_removal"])
    shown = Pipeline.from_toml(ours)
    shown.run()
    Pipeline.from_toml(make_project(tmp_path / "moved", moving)).run()
    expected = open_result(tmp_path / "moved").isel(z=6)
    np.testing.assert_array_equal(shown.preview(z=6).moved, expected)


def test_a_widget_behind_a_step_shows_the_same_difference(project):
    pipeline = Pipeline.from_toml(project)
    wanted = pipeline.preview(z=6)
    bench = Workbench(pipeline.project, base=ALL.index("destriping"))
    for _ in range(2):  # computed, and from memory
        found = preview(pipeline.project, z=6, bench=bench)
        np.testing.assert_array_equal(found.difference, wanted.difference)


def test_figures_of_a_preview_are_those_of_its_images(project):
    shown = Pipeline.from_toml(project).preview(z=6)
    found = shown.figures()
    assert list(found) == list(CHANNELS)
    assert found["SE2"]["mean"] == (shown.before[1].mean(), shown.after[1].mean())
    assert found["SE2"]["deviation"] == (shown.before[1].std(), shown.after[1].std())
    assert found["SE2"]["across"][1] == stripe_energy(shown.after[1])[1]


def test_a_preview_shows_itself_in_a_notebook(project):
    drawn = Pipeline.from_toml(project).preview(z=6)._repr_png_()
    assert imread(io.BytesIO(drawn)).shape[1] > 1000


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"z": 99}, "z: 0 to 14 expected, found 99"),
        ({"step": "cropped"}, "step: one of cropping, .* expected, found 'cropped'"),
        ({"area": (5, 5, 0, 9)}, "area: .* selects nothing"),
    ],
)
def test_what_is_not_there_is_said(project, wanted, message):
    with pytest.raises(ParameterError, match=message):
        preview(Pipeline.from_toml(project).project, **wanted)


def test_the_command_draws_a_picture(project, tmp_path, capsys):
    path = tmp_path / "new" / "slice.png"
    arguments = ["preview", str(project), "--z", "4", "--png", str(path)]
    cli.main(arguments, standalone_mode=False)
    printed = capsys.readouterr().out
    assert f"wrote {path}" in printed
    assert re.search(r"^SE2 +before +after$", printed, re.MULTILINE)
    assert re.search(r"^mean +\d+\.\d+ +\d+\.\d+$", printed, re.MULTILINE)
    picture = imread(path)
    assert min(picture.shape[:2]) > 300
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 200  # grays and colors


def test_pictures_lie_in_the_project_by_default(project, capsys):
    cli.main(["preview", str(project), "--step", "cropping", "--z", "2"], standalone_mode=False)
    path = project / "process" / "preview_slice_0002_z=0.0200um_cropping.png"
    assert str(path) in capsys.readouterr().out
    assert path.stat().st_size > 10_000


def test_before_is_the_same_slice_where_positions_are_not_known(tmp_path):
    stack = images((8, 40, 48))
    for z, image in enumerate(stack):
        tifffile.imwrite(tmp_path / f"im{z:03d}.tif", image)
    write_params(tmp_path, {"bkg_removal": {"method": "local", "size": [15, 15, 5]}})
    pipeline = Pipeline.from_toml(tmp_path)
    pipeline.fit()
    for z in (0, 1, 7):
        np.testing.assert_array_equal(pipeline.preview(z=z).before[0], stack[z])
