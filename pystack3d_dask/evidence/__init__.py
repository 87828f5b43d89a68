"""Evidence for each correction, from a look at some slices: a correction needs a reason.

Every test has the same form: measure a defect, and compare it with what the specimen itself
could show. Where the two cannot be told apart, the correction stays off, and the reason says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.evidence.background import look_for_background
from pystack3d_dask.evidence.brightness import look_for_brightness
from pystack3d_dask.evidence.drift import look_for_drift
from pystack3d_dask.evidence.fill import look_for_fill, without_fill
from pystack3d_dask.evidence.sample import Sample, take_sample
from pystack3d_dask.evidence.spacing import look_for_uneven_spacing
from pystack3d_dask.evidence.stripes import look_for_stripes

__all__ = ["Finding", "Sample", "look", "take_sample"]

LOOKS_EVERYWHERE = Finding(True, "looks for bad slices in the whole stack; no pixel is changed")


def look(sample: Sample) -> Mapping[str, Finding]:
    """Return the evidence for what ``init`` may switch on: ``fill``, and corrections.

    Parameters
    ----------
    sample : Sample
        Some slices of the stack.

    Returns
    -------
    dict of str to Finding
        By the name of the correction, or key.
    """
    fill = look_for_fill(sample)
    sample = without_fill(sample, fill.values.get("fill", ()))
    drift, brightness = look_for_drift(sample), look_for_brightness(sample)
    return {
        "fill": fill,
        "slice_check": LOOKS_EVERYWHERE,
        "bkg_removal": look_for_background(sample, brightness_changes=brightness.is_found),
        "intensity_rescaling": brightness,
        "registration_calculation": drift,
        "registration_transformation": drift,
        "destriping": look_for_stripes(sample),
        "resampling": look_for_uneven_spacing(sample.positions),
    }
