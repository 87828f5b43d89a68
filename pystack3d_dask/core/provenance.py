"""Provenance of a stack, as text that any file format can hold."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pystack3d_dask.core.step import Step

GRAY_LEVELS = {"long_name": "gray level", "units": "1"}
CORRECTIONS = "corrections"


def provenance(steps: Sequence[Step], before: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the attributes that name corrections and the version of this package.

    Parameters
    ----------
    steps : sequence of Step
        Corrections, in order.
    before : mapping, optional
        Attributes of the stack that they were applied to: its corrections stay first.

    Returns
    -------
    dict of str to str
        ``corrections``, a list of tables with names and parameters in JSON, and ``software``.
    """
    earlier = json.loads((before or {}).get(CORRECTIONS, "[]"))
    tables = [{"name": step.name, **asdict(step)} for step in steps]
    software = f"pystack3d-dask {importlib.metadata.version('pystack3d-dask')}"
    return {CORRECTIONS: json.dumps([*earlier, *tables], default=str), "software": software}
