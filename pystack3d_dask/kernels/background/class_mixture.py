"""Classes of gray levels that share one smooth field, by expectation maximization.

A sample is ``level + amplitude * field(place) + noise``, of one of some classes that have a level,
a variance and a share each, or of none of them, an outlier. The amplitude is 1 where a field is
added to all classes alike, and the level where it multiplies them. Source: bias fields of MRI
(Wells et al., "Adaptive segmentation of MRI data", IEEE Trans. Med. Imaging 15(4), 1996; Van
Leemput et al., "Automated model-based bias field correction of MR images of the brain", IEEE
Trans. Med. Imaging 18(10), 1999), here for added fields, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pystack3d_dask.core.typing import Array

OUTLIERS = 0.02  # share of samples that belong to no class
FLATTEST = 0.01  # of the span of gray levels: least standard deviation of a class
RIDGE = 1e-6  # of the weights, added to the normal equations


@dataclass(frozen=True)
class ClassMixture:
    """Classes of gray levels, and the field that they share.

    Parameters
    ----------
    levels, variances, shares : ndarray, shape (classes,)
        Of each class.
    coefficients : ndarray, shape (terms,)
        Of the field.
    multiplies : bool
        Whether the field multiplies levels: ``level * (1 + field)``, not ``level + field``.
    span : float
        Of the gray levels: outliers may lie anywhere in it.
    """

    levels: Array
    variances: Array
    shares: Array
    coefficients: Array
    multiplies: bool
    span: float

    @classmethod
    def around(
        cls, levels: Array, span: float, terms: int = 0, *, multiplies: bool = False
    ) -> ClassMixture:
        """Return classes of equal share at some levels, without a field."""
        count = len(levels)
        return cls(
            np.asarray(levels, np.float64),
            np.full(count, (span / 3 / count) ** 2),
            np.full(count, 1 / count),
            np.zeros(terms),
            multiplies,
            span,
        )

    @property
    def amplitudes(self) -> Array:
        """How much of the field each class shows, shape (classes,)."""
        return self.levels if self.multiplies else np.ones(len(self.levels))

    def deviations(self, values: Array, field: Array) -> Array:
        """Return what samples differ by from each class, shape (samples, classes)."""
        return np.asarray(values[:, None] - self.levels - self.amplitudes * field[:, None])

    def densities(self, values: Array, field: Array) -> Array:
        """Return the density of each class at samples, shape (samples, classes)."""
        beside = self.deviations(values, field)
        scale = (1 - OUTLIERS) * self.shares / np.sqrt(2 * np.pi * self.variances)
        return np.asarray(scale * np.exp(-0.5 * beside**2 / self.variances))

    def memberships(self, values: Array, field: Array) -> Array:
        """Return the probability of each class for samples, shape (samples, classes)."""
        each = self.densities(values, field)
        return np.asarray(each / (each.sum(axis=1) + OUTLIERS / self.span)[:, None])

    def log_likelihood(self, values: Array, design: Array) -> Array:
        """Return the logarithm of the density at samples, shape (samples,)."""
        each = self.densities(values, design @ self.coefficients)
        return np.asarray(np.log(each.sum(axis=1) + OUTLIERS / self.span))

    def fitted(self, values: Array, design: Array, steps: int) -> ClassMixture:
        """Return the mixture after some steps of expectation maximization.

        Parameters
        ----------
        values : ndarray of float64, shape (samples,)
            Gray levels.
        design : ndarray of float64, shape (samples, terms)
            The terms of the field at each of them.
        steps : int
            How many.
        """
        found = self
        for _ in range(steps):
            found = found._stepped(values, design)
        return found

    def _stepped(self, values: Array, design: Array) -> ClassMixture:
        field = design @ self.coefficients
        members = self.memberships(values, field)
        count = members.sum(axis=0) + 1e-3
        if self.multiplies:
            factor = (1 + field)[:, None]
            levels = (members * factor * values[:, None]).sum(axis=0)
            levels /= (members * factor**2).sum(axis=0) + 1e-9
        else:
            levels = (members * (values - field)[:, None]).sum(axis=0) / count
        beside = self.deviations(values, field)
        least = (FLATTEST * self.span) ** 2
        variances = np.maximum((members * beside**2).sum(axis=0) / count, least)
        found = replace(self, levels=levels, variances=variances, shares=count / count.sum())
        return found._with_field(values, design, members) if design.shape[1] else found

    def _with_field(self, values: Array, design: Array, members: Array) -> ClassMixture:
        amplitudes = self.amplitudes
        weights = (members * amplitudes**2 / self.variances).sum(axis=1)
        pulls = (members * amplitudes * (values[:, None] - self.levels) / self.variances).sum(
            axis=1
        )
        normal = (design * weights[:, None]).T @ design
        normal += RIDGE * weights.sum() * np.eye(design.shape[1])
        return replace(self, coefficients=np.linalg.solve(normal, design.T @ pulls))
