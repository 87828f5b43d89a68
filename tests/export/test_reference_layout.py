"""The layout of PyStack3D: the same files, arrays and slices as it leaves itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile
from parity_projects import CHANNELS, DARK, Pair, defective_stack, run_both
from stacks import STEPS, images, make_project

from pystack3d_dask.core.spec import StackSpec
from pystack3d_dask.core.traits import ReferenceLayout
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.corrections.cropping import Cropping
from pystack3d_dask.errors import ExportError
from pystack3d_dask.pipeline import Pipeline

FIT = {"orders": [1, 2, 1], "cross_terms": True, "threshold_min": DARK, "skip_factors": [3, 4, 2]}
FIT_2D = {**FIT, "orders": [2, 1], "skip_factors": [3, 3]}
CASES: dict[str, dict[str, Mapping[str, Any]]] = {
    "stack": {
        "cropping": {"area": [4, 76, 3, 61]},
        "bkg_removal": FIT,
        "intensity_rescaling": {"nbins": 200, "filter_size": 5},
        "intensity_rescaling_area": {"area": [5, 55, 5, 45], "threshold_min": DARK},
    },
    "stack, mean kept": {"bkg_removal": {**FIT, "preserve_avg": True}},
    "slices": {"bkg_removal": FIT_2D, "intensity_rescaling": {"nbins": 64, "filter_size": -1}},
    "registered": {
        "registration_calculation": {"transformation": "TRANSLATION", "nb_blocks": [1, 1]},
        "registration_transformation": {"cropping": True},
        "destriping": {
            "filters": [{"name": "Gabor", "noise_level": 20, "sigma": [1, 20], "theta": 0}],
            "maxit": 5,
        },
        "resampling": {"policy": "slice_{slice_nb}_z={z_coord}um.tif", "dz": 0.0131},
    },
    "cropped last": {"cropping_final": {"area": [2, 60, 0, 50]}},
}
# pictures are drawn from what is recorded and logs are for people: we leave neither
ARRAYS = (".npy", ".npz", ".txt")


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    stacks = {name: defective_stack(dtype, (6, 64, 80)) for name, dtype in CHANNELS.items()}
    pair = run_both(tmp_path_factory.mktemp("layout"), request.param, stacks)
    Pipeline.from_toml(pair.ours).export_reference_layout()
    return pair


def arrays(project: Path) -> dict[str, dict[str, Array]]:
    """Return every array that scripts may read, by file and name."""
    found: dict[str, dict[str, Array]] = {}
    for path in sorted((project / "process").rglob("*")):
        inside = path.relative_to(project).as_posix()
        if "zarr" in inside or path.name == "log.txt" or path.suffix not in ARRAYS:
            continue
        if path.suffix == ".txt":
            found[inside] = {"": np.loadtxt(path)}
        elif path.suffix == ".npy":
            found[inside] = {"": np.load(path)}
        else:
            with np.load(path) as file:
                found[inside] = {name: file[name] for name in file.files}
    return found


def test_the_same_files_hold_arrays_of_the_same_names_shapes_and_types(pair: Pair) -> None:
    def described(project: Path) -> dict[str, dict[str, tuple[Any, ...]]]:
        return {
            path: {name: (array.shape, array.dtype) for name, array in content.items()}
            for path, content in arrays(project).items()
        }

    assert described(pair.ours) == described(pair.reference)


def test_the_arrays_have_the_same_values(pair: Pair) -> None:
    expected = arrays(pair.reference)
    for path, content in arrays(pair.ours).items():
        for name, ours in content.items():
            theirs = expected[path][name]
            if "/cropping" in path:
                ours, theirs = ours[:, 1:], theirs[:, 1:]  # we read the area only
            if path.endswith("stats.npy") and ("/destriping" in path or "/registration" in path):
                ours, theirs = ours[:, ::2], theirs[:, ::2]  # there it measures after casting only
            absolute = 1e-5 * np.nanmax(np.abs(theirs))
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=absolute, err_msg=path)


def test_slices_of_what_is_stored_lie_where_scripts_look_for_them(pair: Pair) -> None:
    last = list(pair.steps)[-1]
    for name, dtype in CHANNELS.items():
        folder = Path("process", last, name)
        expected = sorted((pair.reference / folder).glob("*.tif"))
        ours = sorted((pair.ours / folder).glob("*.tif"))
        assert [path.name for path in ours] == [path.name for path in expected]
        for one, other in zip(ours, expected, strict=True):
            image, wanted = tifffile.imread(one), tifffile.imread(other)
            assert image.dtype == wanted.dtype == dtype
            assert image.shape == wanted.shape
            assert np.mean(image == wanted) > 0.98


def test_stored_levels_come_in_the_type_of_the_acquisition(tmp_path: Path) -> None:
    steps = {
        "bkg_removal": {**STEPS["bkg_removal"], "checkpoint": True},
        "intensity_rescaling": {},
    }
    pipeline = Pipeline.from_toml(make_project(tmp_path, steps, images(dtype="uint16")))
    pipeline.run()
    folders = pipeline.export_reference_layout()
    assert [folder.name for folder in folders] == list(steps)
    for folder in folders:
        slices = [tifffile.imread(path) for path in sorted(folder.glob("*.tif"))]
        assert len(slices) == 20
        assert slices[0].dtype == np.uint16


def test_what_pystack3d_left_itself_is_not_replaced_unasked(tmp_path: Path) -> None:
    pipeline = Pipeline.from_toml(make_project(tmp_path, ["cropping"]))
    pipeline.run()
    outputs = tmp_path / "process" / "cropping" / "outputs"
    outputs.mkdir(parents=True)
    (outputs / "stats.npy").write_bytes(b"theirs")
    with pytest.raises(ExportError, match=r"cropping is not empty; --overwrite"):
        pipeline.export_reference_layout()
    assert (outputs / "stats.npy").read_bytes() == b"theirs"
    pipeline.export_reference_layout(overwrite=True)
    assert np.load(outputs / "stats.npy").shape == (20, 3, 3)


def test_without_steps_there_is_nothing_to_lay_out(tmp_path: Path) -> None:
    pipeline = Pipeline.from_toml(make_project(tmp_path, []))
    pipeline.run()
    with pytest.raises(ExportError, match="process_steps is empty"):
        pipeline.export_reference_layout()


@dataclass(frozen=True, kw_only=True)
class Shared(ReferenceLayout, Cropping):
    """A step whose outputs are those of all channels."""

    name: ClassVar[str] = "shared"
    reference_per_channel: ClassVar[bool] = False

    def reference_outputs(
        self, figures: Arrays, spec: StackSpec, fitted: Arrays | None = None
    ) -> dict[str, Array | Arrays]:
        return {"tmats.npy": np.eye(3)}


def test_outputs_of_all_channels_lie_in_the_directory_of_the_step(tmp_path: Path) -> None:
    found = Pipeline.from_toml(make_project(tmp_path, [], {"A": images(), "B": images()}))
    pipeline = Pipeline.of(replace(found.project, steps=(Shared(),)))
    pipeline.run()
    (folder,) = pipeline.export_reference_layout()
    np.testing.assert_array_equal(np.load(folder / "tmats.npy"), np.eye(3))
    assert not list(folder.glob("*/tmats.npy"))
