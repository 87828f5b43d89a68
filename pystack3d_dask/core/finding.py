"""The outcome of a test for one defect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Evidence for or against a correction.

    Parameters
    ----------
    is_found : bool
        True if the images show the defect, and the correction helps against it.
    reason : str
        What was measured, for the user.
    values : mapping of str to object
        Values of the correction's parameters that follow from it, by name.
    """

    is_found: bool
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)
