"""Public programs that remove stripes or backgrounds, to compare with.

    python benchmarks/ruler/peers.py "algotom sorting" slices.npy corrected.npy

Each is called as its documentation shows, in a process of its own, which imports nothing of this
project: it is separate in license, counts its own start-up, and takes nobody with it when it fails.
``benchmarks/peers.txt`` says what to install. Arrays are (slices, rows, columns), stripes lie
along the columns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MISSING = 3
"""Exit status where a package is not installed."""

WHITE = 255.0


class MissingPeer(Exception):
    """A package that is not installed, or cannot be imported here."""


@dataclass(frozen=True)
class Peer:
    """A public way to correct a stack.

    Parameters
    ----------
    name : str
        For the table.
    mends : str
        Name of our correction for the same defect.
    correct : callable
        Takes a stack and returns the corrected one.
    """

    name: str
    mends: str
    correct: Callable[[Array], Array]


def imported(module: str, package: str) -> Any:
    """Return a module.

    Parameters
    ----------
    module : str
        What to import.
    package : str
        What brings it, in the words of ``benchmarks/peers.txt``.

    Raises
    ------
    MissingPeer
        When it cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        message = f"{package} is not installed, see benchmarks/peers.txt ({error})"
        raise MissingPeer(message) from error


def stacked(images: Iterable[Array]) -> Array:
    """Return images as a stack of float32."""
    return np.stack([np.asarray(image, np.float32) for image in images])


def column_median(stack: Array) -> Array:
    """Give all columns of a slice the same median."""
    medians = np.median(stack, axis=1, keepdims=True)
    return np.asarray(stack - medians + medians.mean(axis=2, keepdims=True), np.float32)


def algotom(stack: Array, method: str) -> Array:
    """Take each slice for a sinogram, rows for its angles, and remove its stripes."""
    removal = imported("algotom.prep.removal", "algotom")
    remove = getattr(removal, f"remove_stripe_based_{method}")
    return stacked(remove(image) for image in np.asarray(stack, np.float32))


def pystripe(stack: Array) -> Array:
    """Filter dark and bright parts, in wavelet and Fourier space, as strongly as its dual band.

    Its stripes lie along the rows, its results are whole numbers of 16 bits. Widths of its filter
    count by the length of a stripe; those of its script are for 2048 pixels.
    """
    core = imported("pystripe.core", "pystripe")
    scale = 256.0
    length = stack.shape[1]
    options = {
        "sigma": [128 * length / 2048, 512 * length / 2048],  # bright parts, dark parts
        "wavelet": "db5",
        "crossover": 10 * scale,
    }
    images = scale * np.asarray(stack, np.float64)
    return stacked(core.filter_streaks(image.T, **options).T / scale for image in images)


def general_stripe_remover(stack: Array) -> Array:
    """Split each slice into an image and stripes by the variational method of Rottmayer et al.

    With its defaults, in two dimensions; it needs its thousands of iterations: after some hundreds
    it is far from its solution.
    """
    torch = imported("torch", "torch")
    remove = imported("GeneralStripeRemover", "General-Stripe-Removal").GeneralStripeRemover
    images = torch.from_numpy(np.moveaxis(np.asarray(stack, np.float32) / WHITE, 0, 2).copy())
    options = {"mu": [10, 0.1], "iterations": 5000, "direction": [1.0, 0.0, 0.0]}
    found = remove(images, **options, GPU=False, verbose=False)
    return np.asarray(WHITE * np.moveaxis(found.numpy(), 2, 0), np.float32)


def universal_stripe_remover(stack: Array) -> Array:
    """Split each slice into an image and stripes of five directions, with its defaults."""
    remove = imported("destripe", "destripe").destripe
    return stacked(remove(image, device="cpu") for image in np.asarray(stack, np.float32))


def vsnr(stack: Array) -> Array:
    """Remove stationary noise of the shape of a stripe, as strongly as the README does."""
    remove = imported("pyvsnr", "pyvsnr").vsnr2d
    filters = [{"name": "Gabor", "noise_level": 1, "sigma": (1, 30), "theta": 0}]
    options = {"maxit": 50, "cvg_threshold": 1e-2, "norm": False, "algo": "numpy"}
    return stacked(remove(image, filters, **options) for image in np.asarray(stack, np.float32))


def n4(stack: Array) -> Array:
    """Fit a smooth field to every fourth pixel of the stack, and divide all pixels by it."""
    itk: Any = imported("SimpleITK", "SimpleITK")
    image = itk.GetImageFromArray(np.asarray(stack, np.float32) + 1)  # it takes the logarithm
    small = itk.Shrink(image, [4, 4, 1])
    correction = itk.N4BiasFieldCorrectionImageFilter()
    correction.Execute(small)
    field = itk.GetArrayFromImage(correction.GetLogBiasFieldAsImage(image))
    return np.asarray(stack / np.exp(field), np.float32)


def basic(stack: Array) -> Array:
    """Find the field that all slices share, and divide by it."""
    model = imported("basicpy", "basicpy-uncapped").BaSiC(device="cpu")
    return np.asarray(model.fit_transform(np.asarray(stack, np.float32)), np.float32)


PEERS = (
    Peer("column median", "destriping", column_median),
    Peer("algotom sorting", "destriping", partial(algotom, method="sorting")),
    Peer("algotom filtering", "destriping", partial(algotom, method="filtering")),
    Peer("algotom fitting", "destriping", partial(algotom, method="fitting")),
    Peer("pystripe", "destriping", pystripe),
    Peer("GSR", "destriping", general_stripe_remover),
    Peer("destripe", "destriping", universal_stripe_remover),
    Peer("VSNR", "destriping", vsnr),
    Peer("N4", "bkg_removal", n4),
    Peer("BaSiC", "bkg_removal", basic),
)


def main() -> None:
    """Correct the stack of a file with a peer, and write the result to another file."""
    name, source, target = sys.argv[1:]
    (peer,) = (each for each in PEERS if each.name == name)
    try:
        corrected = peer.correct(np.load(source))
    except MissingPeer as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING)
    np.save(target, corrected)


if __name__ == "__main__":
    main()
