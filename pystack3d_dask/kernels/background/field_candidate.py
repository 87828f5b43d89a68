"""A field of some terms, fitted to samples, and how it predicts those that were left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.background.class_mixture import ClassMixture
from pystack3d_dask.kernels.background.field_terms import Term

STEPS_LEFT_OUT = 6  # of expectation maximization, from the fit to all samples


@dataclass(frozen=True)
class Candidate:
    """A fit, and how it predicts what was left out.

    Parameters
    ----------
    mixture : ClassMixture
        Classes of gray levels, and the coefficients of the terms.
    terms : tuple of tuple of int
        Orders of each term along z, y and x.
    design : ndarray of float64, shape (samples, terms)
        The terms at each sample, 0 on average.
    folded : ndarray of float64, shape (folds, terms)
        Coefficients of the fit without each fold.
    gained : float
        Log likelihood of a sample that was left out, over that without a field.
    """

    mixture: ClassMixture
    terms: tuple[Term, ...]
    design: Array
    folded: Array
    gained: float

    @classmethod
    def without_field(cls, mixture: ClassMixture, count: int) -> Candidate:
        """Return classes that share no field, for so many samples."""
        return cls(mixture, (), np.zeros((count, 0)), np.zeros((0, 0)), 0.0)

    @property
    def field(self) -> Array:
        """The field at the samples, shape (samples,)."""
        return np.asarray(self.design @ self.mixture.coefficients)

    @property
    def plane(self) -> Array:
        """The part of it that is the same in all slices, shape (samples,)."""
        of_plane = np.array([z == 0 for z, _, _ in self.terms], bool)
        return np.asarray(self.design[:, of_plane] @ self.mixture.coefficients[of_plane])

    @property
    def is_in_plane(self) -> bool:
        """True if slices are not only brighter and darker as wholes."""
        return any(z == 0 for z, _, _ in self.terms)

    @property
    def shrunk(self) -> Candidate:
        """The same with coefficients nearer to 0 the less sure they are."""
        if not self.terms:
            return self
        variance = (len(self.folded) - 1) * self.folded.var(axis=0)
        coefficients = self.mixture.coefficients
        keep = np.clip(1 - variance / np.maximum(coefficients**2, 1e-12), 0, 1)
        return replace(self, mixture=replace(self.mixture, coefficients=coefficients * keep))
