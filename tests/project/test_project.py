"""Which channel lends its fit, and what is wrong with steps in a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity_projects import corrected, stored, write_project
from stack_tools import posed, spec_of, turned

from pystack3d_dask.core.step import Step
from pystack3d_dask.corrections.cropping import Cropping
from pystack3d_dask.corrections.intensity_rescaling_area import IntensityRescalingArea
from pystack3d_dask.corrections.registration_calculation import RegistrationCalculation
from pystack3d_dask.corrections.registration_transformation import RegistrationTransformation
from pystack3d_dask.errors import ParameterError
from pystack3d_dask.pipeline import Pipeline
from pystack3d_dask.project.project import borrowed_fits, check_steps

CHANNELS = ("ESB", "SE2", "InLens")
SHAPE = (48, 60)
WHERE = [turned(0, (0, 0), shift) for shift in [(0, 0), (3, -2), (-1, 4), (5, 0), (2, 2)]]
MOVE = RegistrationTransformation()
AREA = IntensityRescalingArea()


def calculation(channel: str = "") -> RegistrationCalculation:
    return RegistrationCalculation(transformation="TRANSLATION", channel=channel)


@pytest.mark.parametrize(("channel", "lender"), [("", 0), ("ESB", 0), ("SE2", 1), ("InLens", 2)])
def test_all_channels_but_the_one_that_is_compared_borrow_its_fit(
    channel: str, lender: int
) -> None:
    steps = (AREA, calculation(channel), MOVE)
    found = [borrowed_fits(steps, CHANNELS, index) for index in range(3)]
    expected = [frozenset({"registration_calculation"})] * 3
    expected[lender] = frozenset()
    assert found == expected


def test_fits_of_their_own_are_not_borrowed() -> None:
    assert [borrowed_fits((AREA,), CHANNELS, index) for index in range(3)] == [frozenset()] * 3


def errors(*steps: Step, channels: tuple[str, ...] | None = CHANNELS) -> list[str]:
    specs = [spec_of(np.zeros((5, *SHAPE), np.uint8))]
    return [p.path for p in check_steps(steps, specs, channels) if p.severity == "error"]


def test_a_channel_that_is_not_there_is_named() -> None:
    assert errors(calculation("SE2")) == []
    assert errors(calculation("SE3"), MOVE) == ["registration_calculation.channel"]
    assert errors(calculation("SE3"), channels=None) == []
    (problem,) = check_steps((calculation("SE3"),), [], CHANNELS)
    assert "one of 'ESB', 'SE2', 'InLens' expected, found 'SE3'" in problem.message


def test_order_channel_and_parameters_are_complained_about_at_once() -> None:
    wrong = Cropping(area=(5, 5, 0, 10))
    found = errors(MOVE, calculation("SE3"), wrong)
    assert found == [
        "registration_transformation",
        "registration_calculation.channel",
        "cropping.area",
    ]


def stacks() -> dict[str, np.ndarray]:
    """Return a channel that moves, and one without anything to register."""
    dots = np.zeros((5, *SHAPE), np.uint16)
    for image, pose in zip(dots, WHERE, strict=True):
        image[20 + int(pose[1, 2]), 30 + int(pose[0, 2])] = 40000
    return {"ESB": posed(WHERE, SHAPE), "SE2": dots + np.uint16(100)}


@pytest.mark.parametrize("first", ["ESB", "SE2"])
def test_every_channel_is_moved_as_the_compared_one(tmp_path: Path, first: str) -> None:
    channels = stacks()
    ordered = {name: channels[name] for name in [first, *({*channels} - {first})]}
    steps = {
        "registration_calculation": {
            "transformation": "TRANSLATION",
            **({} if first == "ESB" else {"channel": "ESB"}),
        },
        "registration_transformation": {"mode": "edge"},
    }
    directory = write_project(tmp_path, ordered, steps)
    dots = corrected(directory)[list(ordered).index("SE2")]
    # a dot that landed within a tenth of a pixel keeps most of its light
    assert (dots[:, 20, 30] > 0.7 * 40000).all()
    fits = [
        stored(directory, "fits", "registration_calculation", str(k))["pairwise"][...]
        for k in range(2)
    ]
    np.testing.assert_array_equal(*fits)
    matrices = stored(directory, "figures", "registration_transformation")["matrix"]
    np.testing.assert_array_equal(matrices[0], matrices[1])
    np.testing.assert_allclose(matrices[0, :, 0], WHERE, atol=0.1)


def test_a_project_with_steps_in_the_wrong_order_is_refused(tmp_path: Path) -> None:
    steps = {
        "registration_transformation": {},
        "registration_calculation": {"transformation": "AFFINE", "channel": "none"},
    }
    directory = write_project(tmp_path, stacks(), steps)
    with pytest.raises(ParameterError) as caught:
        Pipeline.from_toml(directory)
    assert "needs registration_calculation before it" in str(caught.value)
    assert "registration_calculation.channel" in str(caught.value)
    assert not (directory / "process").exists()
