"""Top-level key ``bad_content``: the corrections that it adds to those listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from pystack3d_dask.core.step import Step
from pystack3d_dask.errors import Problem

BadContent = Literal["keep", "drop", "interpolate"]
CHECK, REPAIR = "slice_check", "slice_repair"


def with_bad_content(
    steps: Sequence[Step],
    policy: BadContent,
    build: Callable[[str, dict[str, Any]], Step | None],
    problems: list[Problem],
) -> list[Step]:
    """Return steps, and those that find and repair bad slices where the policy asks for it.

    Parameters
    ----------
    steps : sequence of Step
        Those listed, in order. A check of slices among them is the one that counts.
    policy : {"keep", "drop", "interpolate"}
        What happens to bad slices; "keep" adds no step.
    build : callable
        Makes a step from its name and the parameters that are set here; None if it cannot.
    problems : list of Problem
        Gets an error if the steps repair bad slices themselves.

    Returns
    -------
    list of Step
        The check stands at its usual place, before all that fits; the repair after everything
        that usually comes before it, such as the registration.
    """
    if policy == "keep":
        return [*steps]
    names = {step.name for step in steps}
    if REPAIR in names:
        message = f"says what {REPAIR} in process_steps says, too; leave out one of the two"
        problems.append(Problem("bad_content", message))
        return [*steps]
    found = [*steps]
    if CHECK not in names and (check := build(CHECK, {})):
        places = [step.usual_place > check.usual_place for step in found]
        found.insert(places.index(True) if any(places) else len(found), check)
    if repair := build(REPAIR, {"action": policy}):
        before = [k for k, step in enumerate(found, 1) if step.usual_place < repair.usual_place]
        found.insert(max(before, default=0), repair)
    return found
