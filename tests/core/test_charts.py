"""What charts hold, and which slices they mark."""

from __future__ import annotations

import numpy as np
import pytest

from pystack3d_dask.core.charts import Lines, Maps, odd_brightness, outlying, padded, statistics


def measured(means, low=0.0, high=200.0):
    return np.stack([np.full_like(means, low), np.full_like(means, high), means], axis=1)


def test_a_value_apart_from_its_neighbors_is_outlying():
    values = np.sin(np.arange(60) / 9) + np.random.default_rng(0).normal(0, 0.05, 60)
    values[[17, 40]] += [2, -2]
    assert outlying(values) == [17, 40]


def test_a_drift_and_a_step_are_not_outlying():
    noise = np.random.default_rng(0).normal(0, 1, 50)
    assert outlying(np.linspace(0, 100, 50) + noise) == []
    assert outlying(np.linspace(0, 1000, 50) + noise) == []
    assert outlying(np.repeat([10.0, 90.0], 25) + noise) == []


@pytest.mark.parametrize("z", [0, 1, 5, 48, 49])
def test_a_slice_at_the_end_can_be_outlying(z):
    values = np.linspace(0, 100, 50) + np.random.default_rng(0).normal(0, 1, 50)
    values[z] += 20
    assert outlying(values) == [z]


def test_chance_is_hardly_ever_outlying():
    assert len(outlying(np.random.default_rng(0).normal(0, 1, 5000))) < 10


@pytest.mark.parametrize("values", [[], [1.0], [*[1.0] * 8, 9.0], [np.nan] * 20])
def test_of_too_few_values_none_is_outlying(values):
    assert outlying(np.array(values, float)) == []


def test_values_that_are_not_known_are_passed_over():
    values = np.tile([5.0, 5.1, 5.2, 5.1], 10)
    values[10:20] = np.nan
    values[30] = 9
    assert outlying(values) == [30]


def test_differences_that_nobody_sees_are_not_marked():
    means = np.full(30, 100.0)
    means[12] = 103  # of a range of 200
    assert odd_brightness(measured(means)) == []
    means[12] = 105
    assert odd_brightness(measured(means)) == [12]


def test_statistics_are_drawn_before_and_after_and_marked_after():
    before, after = measured(np.full(30, 90.0)), measured(np.full(30, 100.0))
    before[3, 2] = after[7, 2] = 180
    chart = statistics({"before": before, "cast": after})
    assert list(chart.panels) == ["maximum", "mean", "minimum"]
    np.testing.assert_array_equal(chart.panels["mean"]["before"], before[:, 2])
    np.testing.assert_array_equal(chart.panels["maximum"]["after"], after[:, 1])
    assert list(chart.flags) == [7]


def test_stages_of_other_lengths_end_in_nan():
    chart = statistics({"before": measured(np.ones(5)), "cast": measured(np.ones(3))})
    (table,) = chart.tables().values()
    assert list(table) == [
        "slice",
        *(f"{what}, {when}" for what in chart.panels for when in ("before", "after")),
    ]
    assert {len(column) for column in table.values()} == {5}
    np.testing.assert_array_equal(table["mean, after"], [1, 1, 1, np.nan, np.nan])


def test_what_was_before_may_not_be_known():
    assert list(statistics({"cast": measured(np.ones(4))}).panels["mean"]) == ["after"]


def test_lines_without_positions_are_numbered():
    chart = Lines(name="n", title="", text="", panels={"a": {"": np.array([4.0, 5.0])}})
    (table,) = chart.tables().values()
    assert table["slice"].tolist() == [0, 1]
    assert table["a"].tolist() == [4, 5]


def test_maps_are_tables_with_the_middles_of_their_pixels():
    values = np.arange(6.0).reshape(2, 3)
    chart = Maps(
        name="n",
        title="",
        text="",
        maps={"before": values},
        x="slice",
        y="gray level",
        value="pixels",
        extent=(-0.5, 2.5, 0, 100),
    )
    table = chart.tables()["before"]
    assert list(table) == ["gray level \\ slice", "0", "1", "2"]
    assert list(table["gray level \\ slice"]) == [25, 75]
    assert table["2"].tolist() == [2, 5]


def test_padded_values_keep_theirs():
    np.testing.assert_array_equal(padded(np.array([1, 2]), 3), [1, 2, np.nan])
