"""Evidence for background removal: a smooth field that dark and bright parts share.

The test is that of the correction itself (`kernels.background.shared_field`): the field has to
predict places that were left out, and each class of gray levels has to show it. A gradient of the
specimen, such as a porosity that changes over the image, does neither.
"""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.finding import Finding
from pystack3d_dask.evidence.sample import Sample
from pystack3d_dask.kernels.background.field_judgment import REASONS, Verdict
from pystack3d_dask.kernels.background.field_samples import Samples
from pystack3d_dask.kernels.background.flat_places import flat_places
from pystack3d_dask.kernels.background.shared_field import find_field

CELLS = 12_000  # that are looked at
HIDDEN = (
    "what changes from slice to slice may hide one: looks again in the run, once that is undone, "
    "and changes nothing if there is none"
)


def look_for_background(sample: Sample, *, brightness_changes: bool = False) -> Finding:
    """Look for a field that the classes of gray levels of some slices share.

    Parameters
    ----------
    sample : Sample
        Some slices of the stack.
    brightness_changes : bool
        Whether slices differ in brightness. Then classes are blurred here, and where none is
        found the test is left to the correction, which sees slices of one brightness.
    """
    images = [image for image in sample.overviews if np.isfinite(image).any() and np.nanstd(image)]
    if not images:
        return Finding(False, "not tested: nothing is seen")
    count = len(images)
    seen = {(k + 0.5) / count: flat_places(image, CELLS // count) for k, image in enumerate(images)}
    found = find_field(Samples.of_slices(seen), (count, *images[0].shape))
    if found.verdict != Verdict.FOUND:
        is_hidden = brightness_changes and found.verdict != Verdict.TOO_LITTLE
        return Finding(is_hidden, HIDDEN if is_hidden else REASONS[found.verdict])
    return Finding(
        True,
        f"a smooth field that dark and bright parts share explains {found.explained:.0%} +- "
        f"{found.error:.0%} of the slow variation",
    )
