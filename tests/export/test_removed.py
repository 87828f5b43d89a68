"""Exports of what a correction took away: its input less its output, whatever is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from stacks import STEPS, images, make_project
from striped import specimen, stripes

from pystack3d_dask.errors import ExportError
from pystack3d_dask.pipeline import Pipeline

CHAIN = {name: STEPS[name] for name in ("cropping", "bkg_removal", "destriping")}
STORED = {name: {**values, "checkpoint": True} for name, values in CHAIN.items()}


def corrected(directory: Path, *arguments: Any, **settings: Any) -> Pipeline:
    """Make a project and run it."""
    pipeline = Pipeline.from_toml(make_project(directory, *arguments, **settings))
    pipeline.run()
    return pipeline


def exported(pipeline: Pipeline, directory: Path, **options: Any) -> Any:
    """Return what a pipeline exports, (slices, rows, columns)."""
    written = pipeline.export_tiff(directory, **options)
    return np.stack([tifffile.imread(path) for path in written])


@pytest.mark.parametrize("step", ["bkg_removal", "destriping"])
def test_what_was_taken_is_the_input_less_the_output(tmp_path: Path, step: str) -> None:
    pipeline = corrected(tmp_path / "p", STORED)
    names = list(CHAIN)
    before = exported(pipeline, tmp_path / "before", step=names[names.index(step) - 1])
    after = pipeline.preview(z=3, step=step)
    taken = exported(pipeline, tmp_path / "taken", removed=step)
    assert taken.dtype == np.float32
    assert taken.shape == before.shape
    assert np.abs(taken).max() > 1
    # the preview rounds what a step leaves to whole gray levels
    np.testing.assert_allclose(before[3] - taken[3], after.after[0], atol=0.51)


def test_it_is_the_same_after_what_is_stored_between_passes_is_cleaned(tmp_path: Path) -> None:
    pipeline = corrected(tmp_path / "p", STORED)
    first = exported(pipeline, tmp_path / "first", removed="destriping")
    pipeline.clean()
    np.testing.assert_array_equal(
        exported(pipeline, tmp_path / "second", removed="destriping"), first
    )


def test_a_bigtiff_has_a_page_per_slice_and_each_channel_its_own(tmp_path: Path) -> None:
    stack = {"one": images(), "two": 2 * (images() // 2)}
    pipeline = corrected(tmp_path / "p", CHAIN, stack)
    files = pipeline.export_bigtiff(tmp_path / "taken.tif", removed="destriping")
    singles = exported(pipeline, tmp_path / "taken", removed="destriping")
    pages = np.concatenate([tifffile.imread(file) for file in files])
    np.testing.assert_array_equal(pages, singles)


def test_what_neighbors_tell_of_is_taken_slice_by_slice_as_in_a_run(tmp_path: Path) -> None:
    added = stripes()
    stack = np.clip(np.rint(specimen() + added), 0, 255).astype(np.uint8)
    pipeline = corrected(tmp_path / "p", {"destriping": {"neighbors": 3}}, stack)
    taken = exported(pipeline, tmp_path / "taken", removed="destriping")
    result = exported(pipeline, tmp_path / "result")
    assert np.corrcoef(taken.ravel(), added.ravel())[0, 1] > 0.85
    np.testing.assert_array_equal(np.rint(stack - taken).clip(0, 255), result)


def test_where_nothing_is_taken_or_known_it_says_why(tmp_path: Path) -> None:
    chain = {name: STEPS[name] for name in ("cropping", "intensity_rescaling")}
    pipeline = Pipeline.from_toml(make_project(tmp_path / "p", chain))
    cases = {
        "cropping": "where pixels lie",
        "gamma": "not one of the steps; expected 'cropping', 'intensity_rescaling'",
        "intensity_rescaling": "looked at for 'intensity_rescaling': `pystack3d-dask run`",
    }
    for step, expected in cases.items():
        with pytest.raises(ExportError, match=expected):
            pipeline.export_tiff(tmp_path / "out", removed=step)
    with pytest.raises(ExportError, match="do not go together"):
        pipeline.export_tiff(tmp_path / "out", step="cropping", removed="intensity_rescaling")
    assert not (tmp_path / "out").exists()
