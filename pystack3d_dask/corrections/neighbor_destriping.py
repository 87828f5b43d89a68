"""Destriping by neighbors: what a slice has along one direction, and others have not, or not long.

How is told by `kernels.destriping.stripe_model`, and whether by `kernels.destriping.stripe_search`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pystack3d_dask.core.block import Block
from pystack3d_dask.core.charts import Chart, Lines
from pystack3d_dask.core.spec import EMPTY, Region, StackSpec
from pystack3d_dask.core.stack_fit import Summaries, around, every, known
from pystack3d_dask.core.typing import Array, Arrays
from pystack3d_dask.kernels.backend import to_host
from pystack3d_dask.kernels.destriping.neighbor_stripes import stripes_of
from pystack3d_dask.kernels.destriping.seen_slices import seen_of
from pystack3d_dask.kernels.destriping.stripe_frequencies import frequencies_of, spectrum_of
from pystack3d_dask.kernels.destriping.stripe_model import LAGS, StripeModel
from pystack3d_dask.kernels.destriping.stripe_search import (
    SMALLEST,
    Direction,
    compare,
    find,
    from_slice,
    is_out_of_reach,
    steps,
    upright,
)

SAMPLED = 32  # slices that tell what the stack is made of
SPECTRUM_BYTES = 4  # of a pixel of a slice that is made periodic
SCRATCH_BYTES = 36  # of such a pixel: the slice, its transforms, frequencies in groups


@dataclass(frozen=True, kw_only=True)
class NeighborDestriping:
    """The method of the destriping that looks at neighboring slices, on one stack.

    Parameters
    ----------
    spec : StackSpec
        The stack.
    neighbors : int
        Slices on each side that tell stripes from the specimen.
    along : {"y", "x"}
        Direction of the stripes; they may lean.
    """

    spec: StackSpec
    neighbors: int
    along: Direction

    def source(self, out: Region, fitted: Arrays | None) -> Region:
        """Return whole slices, with neighbors but where it is known that there are no stripes."""
        reach = self.neighbors if fitted is None or fitted.get("are_stripes", True) else 0
        first, last = max(out.start[0] - reach, 0), min(out.stop[0] + reach, self.spec.shape[0])
        return self.spec.region.with_z(first, last)

    def scratch_bytes(self) -> int:
        """Return what spectra of a slice and its neighbors take, and the work on one."""
        return self._bytes(2 * self.neighbors + 1)

    def summary_source(self, out: Region) -> Region:
        """Return the slices of ``out`` that are sampled, and those before them."""
        mine = [z for z in self._sampled if z in out.z]
        return out.with_z(max(mine[0] - LAGS + 1, 0), mine[-1] + 1) if mine else EMPTY

    def summary_scratch_bytes(self) -> int:
        """Return what the spectra of a sampled slice and those before it take."""
        return self._bytes(LAGS)

    def estimate_slices(self, shown: Collection[int]) -> set[int]:
        """Return the slices shown, their neighbors, and those that are sampled."""
        return {*self._sampled, *around(shown, self.neighbors, self.spec)}

    def summarize(self, block: Block) -> dict[int, Arrays]:
        """Return what sampled slices have in common with those before them.

        Parameters
        ----------
        block : Block
            With the slices before those that are asked for.
        """
        found = {}
        for z in (z for z in self._sampled if z in block.out.z):
            last = z - block.source.start[0]
            images = block.values[last - LAGS + 1 : last + 1][::-1]
            seen = [seen_of(image, self.spec.source_dtype).values for image in images]
            if all(image.min() < image.max() for image in seen):
                found[z] = compare(seen, self.along)
        return found

    def finalize(self, summaries: Summaries) -> Arrays:
        """Return what the stack is made of, and whether stripes are part of it."""
        seen = [dict(summary) for summary in summaries.values() if summary]
        found = find(seen, self.spec.shape[1:], self.neighbors, self.along) if seen else None
        if found is None:
            return {
                "are_stripes": np.array(False),
                "rms": np.full(3, np.nan),
                "persistence": np.array(0.0),
            }
        return {
            **found.model.as_arrays(),
            "are_stripes": np.array(found.are_stripes),
            "rms": np.array([found.expected, found.rms, found.control]),
        }

    def apply(self, block: Block, fitted: Arrays | None) -> tuple[Array, Arrays]:
        """Return slices without their stripes, and how strong these were.

        Parameters
        ----------
        block : Block
            The slices, with their neighbors.
        fitted : dict of ndarray
            What `finalize` returned.
        """
        fit = known(fitted)
        first = block.source.start[0]
        z = [k - first for k in block.out.z]
        values = block.values[z[0] : z[-1] + 1].astype(block.spec.arithmetic)
        removed = np.zeros(len(z))
        if fit["are_stripes"]:
            model = StripeModel.of_arrays(fit)
            seen = [seen_of(image, self.spec.source_dtype) for image in block.values]
            images = [each.values for each in seen]
            for n, stripes in enumerate(self._stripes(images, first, z, model)):
                if stripes is not None:
                    corrected = (values[n] - stripes).astype(values.dtype)
                    values[n] = seen[z[n]].restored(corrected, block.values[z[n]])
                    removed[n] = float(stripes.std())
        _, rows, columns = block.out.slices
        return values[:, rows, columns], {"removed": removed}

    def _stripes(
        self, images: Sequence[Array], first: int, wanted: Sequence[int], model: StripeModel
    ) -> Iterator[Array | None]:
        """Yield the stripes of some slices; None for those that are bad, or show nothing."""
        turned = [upright(image, self.along) for image in images]
        frequencies = frequencies_of(turned[0].shape)
        moved = steps([to_host(image) for image in turned])
        spectra: dict[int, Array] = {}
        is_bad = [
            k + first in self.spec.bad or bool(image.min() == image.max())
            for k, image in enumerate(images)
        ]
        for k in wanted:
            if is_bad[k]:
                yield None
                continue
            near = range(max(k - self.neighbors, 0), min(k + self.neighbors + 1, len(turned)))
            moves = from_slice(k, moved)
            usable = {
                n: moves[n]
                for n in near
                if n == k or not (is_bad[n] or is_out_of_reach(moves[n], turned[k].shape))
            }
            spectra = {
                n: spectra[n] if n in spectra else spectrum_of(turned[n], frequencies)
                for n in usable
            }
            yield upright(stripes_of(k, spectra, usable, model, frequencies), self.along)

    def remarks(self, fitted: Arrays) -> Iterator[str]:
        """Yield what was found, or why nothing is done."""
        expected, rms, control = fitted["rms"]
        if fitted["are_stripes"]:
            correlation = float(fitted["persistence"])
            goes_on = (
                f" or go on (correlation of neighbors {correlation:.2g})" if correlation else ""
            )
            yield (
                f"stripes along {self.along} that are new in each slice{goes_on} were removed, of "
                f"about {expected:.2g} gray levels"
            )
        elif np.isnan(rms):
            yield (
                f"too few good slices have {LAGS - 1} good ones before them, or slices are too "
                "small: left alone"
            )
        else:
            yield (
                f"no stripes along {self.along} that change from slice to slice, which would be "
                f"{rms:.2g} gray levels, as against {control:.2g} along the other axis: left alone"
            )

    def charts(self, figures: Arrays, fitted: Arrays | None) -> Iterator[Chart]:
        """Yield how strong the stripes of all slices were."""
        if fitted is None or not fitted["are_stripes"]:
            return
        yield Lines(
            name="stripes",
            title="Stripes that were removed",
            text="Standard deviation of what was removed from each slice.",
            panels={"gray levels": {"": figures["removed"]}},
        )

    @cached_property
    def _sampled(self) -> Sequence[int]:
        """Slices that are compared with those before them, all of them good."""
        if min(self.spec.shape[1:]) < SMALLEST:
            return ()
        bad = self.spec.bad
        usable = [
            z
            for z in range(LAGS - 1, self.spec.shape[0])
            if not any(z - lag in bad for lag in range(LAGS))
        ]
        return every(usable, SAMPLED)

    def _bytes(self, spectra: int) -> int:
        rows, columns = frequencies_of(self.spec.shape[1:]).extended
        return (spectra * SPECTRUM_BYTES + SCRATCH_BYTES) * rows * columns
