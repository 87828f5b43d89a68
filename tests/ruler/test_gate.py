"""The gate: what ``init`` and ``run`` make of small stacks is no worse, and often better."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
import quality
from quality import MENDED_BY, Task, suits
from ruler.cases import CASES, EVERY
from ruler.programs import ALONE, PROGRAMS
from ruler.scores import Score
from ruler.tables import COLUMNS, head, row, summary

SHAPE = (12, 160, 160)


def slow(case: str):
    return pytest.param(case, marks=pytest.mark.slow)


def score_of(case: str) -> Score:
    (score,) = Task(case, 1, SHAPE, ("init",)).run()
    return score


@pytest.mark.parametrize("case", ["porous: clean", slow("cellular: clean"), slow("upright: clean")])
def test_clean_stacks_stay_clean(case):
    score = score_of(case)
    assert not score.is_worse
    assert score.value("rms") == pytest.approx(score.value("rms", of_input=True), abs=0.3)
    assert score.value("noise_kept") == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "case", ["porous: long stripes", slow("porous: vignetting"), slow("porous: drift")]
)
def test_defects_shrink(case):
    score = score_of(case)
    assert score.value("rms") < 0.95 * score.value("rms", of_input=True)


def made(seed: int, before: float, after: float, program: str = "init") -> Score:
    values = [{"rms": each, "noise_kept": 1.0} for each in (before, after)]
    return Score("porous: all", program, seed, ("destriping",), 2.0, *values)


def test_a_table_has_medians_over_seeds_and_counts_what_is_worse():
    scores = [made(1, 9, 4), made(2, 10, 5), made(3, 11, 12)]
    text = row(scores, downstream=False)
    assert "10.00-> 5.00" in text
    assert "1/3" in text
    assert len(text) == len(head(downstream=False))
    (line,) = summary(scores)
    assert line.split() == "init median rms 10.00 -> 5.00; worse: 1 of 3".split()


def test_programs_that_are_not_installed_are_named_and_judged_in_nothing():
    missing = Score("porous: all", "GSR", 1)
    assert row([missing], downstream=True).endswith("not installed")
    assert not missing.is_worse
    assert summary([missing]) == []


def test_a_correction_is_tried_on_its_own_defects_and_on_stacks_without_any():
    alone = PROGRAMS["bkg_removal alone"]
    assert suits(alone, "porous: vignetting")
    assert suits(alone, "upright: clean")
    assert not suits(alone, "porous: long stripes")
    assert all(suits(PROGRAMS["init"], case) for case in CASES)
    assert set(MENDED_BY) <= set(EVERY)
    assert set(MENDED_BY.values()) <= set(ALONE)


def test_the_command_prints_a_line_for_each_case_and_writes_all_measures(
    monkeypatch, capsys, tmp_path
):
    found = [made(1, 9, 4), made(1, 9, 10, "README")]
    monkeypatch.setattr(quality, "scores_of", lambda tasks, jobs: iter(found))
    file = tmp_path / "scores.csv"
    monkeypatch.setattr(sys, "argv", ["quality.py", "--seeds", "1", "--csv", str(file)])
    with pytest.raises(SystemExit) as ended:
        quality.main()
    assert not ended.value.code  # only what init makes worse counts
    printed = capsys.readouterr().out
    assert [line.split()[2] for line in printed.splitlines()[1:3]] == ["init", "README"]
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == 4
    assert {each["measure"] for each in rows} <= {"rms", *COLUMNS}


def test_worse_results_of_init_fail_the_command(monkeypatch):
    monkeypatch.setattr(quality, "scores_of", lambda tasks, jobs: iter([made(1, 9, 9.1)]))
    monkeypatch.setattr(sys, "argv", ["quality.py"])
    with pytest.raises(SystemExit) as ended:
        quality.main()
    assert ended.value.code


def test_missing_measures_are_no_numbers():
    assert np.isnan(Score("porous: all", "init", 1).value("rms"))
    assert np.isnan(made(1, 9, 4).value("dice"))
