"""Shifts between two images: phase correlation, then least squares to a fraction of a pixel.

The whole shift is where the phases of the cross spectrum agree: Kuglin, Hines, "The phase
correlation image alignment method", Proc. IEEE Int. Conf. on Cybernetics and Society, 1975. From
there on it is least squares on what both images show (Lucas, Kanade, "An iterative image
registration technique", IJCAI 1981), with the gradient of the reference for instruments: its
noise knows nothing of the noise in the image, which would otherwise draw shifts to where
reading between pixels smooths it most. Both images are read through the cubic
B-spline, without interpolating (Unser, "Splines: a perfect fit for signal and image
processing", IEEE Signal Processing Magazine 16(6), 1999), hence smoothed alike. Of several sizes
of the images that one has the say where what is left unexplained moves the shift least:
noise is averaged as far as detail allows.
"""

from __future__ import annotations

import numpy as np

from pystack3d_dask.core.typing import Array
from pystack3d_dask.kernels.jit import compiled

SMOOTH = (1.5, 6.0)  # pixels: finer detail does not vote for whole shifts, it may be noise
LEVELS = 4  # sizes at which least squares are tried, each half of the one before
SMALLEST = 24  # rows and columns of these
CONVERGED = 1e-4  # pixels
MOST_STEPS = 30
FARTHEST = 2.0  # pixels, of its size, by which least squares may change a shift
LEAST_SHARED = 0.2  # of the pixels that both images show
CHANCE = 8.0  # correlation times the root of shared pixels: what is less, noise reaches, too
FINITE = {"nnan", "ninf", "nsz", "contract", "reassoc"}


def register_shift(reference: Array, image: Array) -> Array:
    """Return the shift that lays an image on a reference, whatever their contrasts.

    Parameters
    ----------
    reference, image : ndarray, shape (rows, columns)
        Any real type; 12 x 12 pixels or more.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        On (x, y, 1), from coordinates in the reference to those in the image. The identity
        where nothing fits better.
    """
    fixed, moving = _centered(reference), _centered(image)
    sizes = [*zip(_halved(fixed), _halved(moving), strict=True)]
    seen = [_read(each) for each, _ in sizes]
    starts = [np.zeros(2), *_whole_shifts(fixed, moving)]
    k = min(1, len(sizes) - 1)  # whole shifts show at half the size
    overlaps = [_Overlap.at(seen[k], sizes[k][1], each / 2**k) for each in starts]
    best = int(np.argmax([each.significance for each in overlaps]))
    matrix = np.eye(3)
    if overlaps[best].significance < CHANCE:
        return matrix
    shift, found = starts[best], []
    for k in reversed(range(len(sizes))):
        refined = _refined(seen[k], sizes[k][1], shift / 2**k)
        if refined is not None:
            shift = refined[0] * 2**k
            found.append((refined[1] * 4**k, shift))
    least = min(found, key=lambda each: each[0], default=(0.0, shift))
    matrix[:2, 2] = least[1][::-1]
    return matrix


def _refined(seen: Array, moving: Array, start: Array) -> tuple[Array, float] | None:
    """Return the shift (y, x) near ``start`` that leaves nothing to gain, and its variance."""
    first = found = _Overlap.at(seen, moving, start)
    shift = start
    for _ in range(MOST_STEPS):
        step = found.step
        shift = shift + step
        if np.abs(shift - start).max() > FARTHEST:
            return None
        found = _Overlap.at(seen, moving, shift)
        if np.abs(step).max() <= CONVERGED:
            return (shift, found.variance) if found.correlation >= first.correlation else None
    return None


class _Overlap:
    """Two images where both show something, one of them shifted.

    Parameters
    ----------
    sums : ndarray, shape (5, 5)
        Sums of products: d/dy, d/dx, the values and 1 of the reference in rows; the same of
        the shifted image, and the values of the reference in columns. The last row has the
        squares of the reference's derivatives, then of the shifted image.
    pixels : int
        Of an image.
    """

    def __init__(self, sums: Array, pixels: int) -> None:
        self._sums, self._pixels = sums, pixels

    @classmethod
    def at(cls, seen: Array, moving: Array, shift: Array) -> _Overlap:
        """Return that under a shift (y, x)."""
        return cls(_sums(seen[0], seen[1], seen[2], moving, *shift), seen[0].size)

    @property
    def correlation(self) -> float:
        """Correlation of the two images; 0 where they share too little, or one is constant."""
        fg, f, ff = self._sums[2, 2:]
        g, count = self._sums[3, 2:4]
        gg = self._sums[4, 2]
        if count < LEAST_SHARED * self._pixels:
            return 0.0
        spread = (gg - g * g / count) * (ff - f * f / count)
        return float((fg - f * g / count) / np.sqrt(spread)) if spread > 0 else 0.0

    @property
    def significance(self) -> float:
        """The correlation over that of unrelated noise."""
        return float(self.correlation * np.sqrt(self._sums[3, 3]))

    @property
    def step(self) -> Array:
        """Change of the shift (y, x) that is wanted, at most a pixel; none without texture."""
        found = np.linalg.lstsq(self._sums[:4, :4], self._sums[:4, 4], rcond=1e-9)[0]
        gain = found[2]
        return np.clip(found[:2] / gain, -1, 1) if gain > 0 else np.zeros(2)

    @property
    def variance(self) -> float:
        """Variance of the shift that the images' difference makes, but for a factor."""
        slopes, count = np.diag(self._sums)[:2], self._sums[3, 3]
        unlike = (1 - self.correlation**2) * self._sums[4, 4] / count
        return float(unlike * np.sum(self._sums[4, :2] / slopes**2))


def _halved(image: Array) -> list[Array]:
    """Return the image, and means of 2 x 2 pixels again and again."""
    images = [image]
    while len(images) < LEVELS and min(image.shape) >= 2 * SMALLEST:
        rows, columns = (n // 2 * 2 for n in image.shape)
        pairs = image[:rows:2, :columns] + image[1:rows:2, :columns]
        image = (pairs[:, ::2] + pairs[:, 1::2]) / 4
        images.append(image)
    return images


def _centered(image: Array) -> Array:
    """Return an image of mean 0 and a standard deviation of about 1, as float32.

    About, since a power of two changes no digit. All that follows would depend on a contrast
    otherwise: equations that mix it with counts, sums that single precision has to hold.
    """
    values = np.ascontiguousarray(image, np.float32)
    centered = np.asarray(values - values.mean(dtype=np.float64).astype(np.float32))
    deviation = float(np.sqrt(np.mean(np.square(centered, dtype=np.float64))))
    if deviation > 0:
        centered = np.ldexp(centered, -round(np.log2(deviation)))
    return centered


def _whole_shifts(fixed: Array, moving: Array) -> list[Array]:
    """Return where phases agree best: shifts (y, x), either way round the image."""
    from scipy import fft  # not at the top: workers start sooner

    rows, columns = (fft.next_fast_len(n, real=True) for n in fixed.shape)
    window = np.outer(*(np.hanning(n + 2)[1:-1].astype(np.float32) for n in fixed.shape))
    ours, theirs = (fft.rfft2(each * window, s=(rows, columns)) for each in (fixed, moving))
    cross = np.conj(ours) * theirs
    cross /= np.maximum(np.abs(cross), np.finfo(np.float32).tiny)
    down, right = np.fft.fftfreq(rows), np.fft.rfftfreq(columns)
    found = []
    for sigma in SMOOTH:
        low = [
            np.exp(-2 * (np.pi * sigma * each) ** 2).astype(np.float32) for each in (down, right)
        ]
        agreement = fft.irfft2(cross * low[0][:, None] * low[1], s=(rows, columns))
        y, x = np.unravel_index(np.argmax(agreement), agreement.shape)
        found += [(down, right) for down in (y, y - rows) for right in (x, x - columns)]
    return [np.array(shift, np.float64) for shift in dict.fromkeys(found)]


def _read(image: Array) -> Array:
    """Return an image and its derivatives along y and x, read through the B-spline.

    Shape (3, rows, columns); the outermost pixels are 0.
    """
    sixth = np.float32(1 / 6)
    smooth_y = (image[:-2] + 4 * image[1:-1] + image[2:]) * sixth
    slope_y = (image[2:] - image[:-2]) / 2
    out = np.zeros((3, *image.shape), np.float32)
    out[0, 1:-1, 1:-1] = (smooth_y[:, :-2] + 4 * smooth_y[:, 1:-1] + smooth_y[:, 2:]) * sixth
    out[1, 1:-1, 1:-1] = (slope_y[:, :-2] + 4 * slope_y[:, 1:-1] + slope_y[:, 2:]) * sixth
    out[2, 1:-1, 1:-1] = (smooth_y[:, 2:] - smooth_y[:, :-2]) / 2
    return out


@compiled()
def _spline(fraction: float, weights: Array, slopes: Array) -> None:
    """Write values and derivatives of the cubic B-spline for the four pixels around a place."""
    t, s = fraction, 1 - fraction
    weights[0], weights[3] = s**3 / 6, t**3 / 6
    weights[1] = 2 / 3 - t**2 * (2 - t) / 2
    weights[2] = 2 / 3 - s**2 * (2 - s) / 2
    slopes[0], slopes[3] = -(s**2) / 2, t**2 / 2
    slopes[1] = t * (3 * t - 4) / 2
    slopes[2] = s * (4 - 3 * s) / 2


@compiled(fastmath=FINITE)
def _sums(values: Array, down: Array, right: Array, moving: Array, dy: float, dx: float) -> Array:
    """Return the sums of an `_Overlap`."""
    height, width = values.shape
    sums = np.zeros((5, 5))
    top, left = int(np.floor(dy)), int(np.floor(dx))
    weights = np.empty((4, 4), np.float32)
    _spline(dy - top, weights[0], weights[1])
    _spline(dx - left, weights[2], weights[3])
    first, last = max(1, 1 - left), min(width - 1, width - 2 - left)
    if last <= first:
        return sums
    across = slice(first + left - 1, last + left + 2)
    value = np.empty(last - first + 3, np.float32)
    slope = np.empty(last - first + 3, np.float32)
    for y in range(max(1, 1 - top), min(height - 1, height - 2 - top)):
        _mix_rows(moving[y + top - 1 : y + top + 3, across], weights[0], value)
        _mix_rows(moving[y + top - 1 : y + top + 3, across], weights[1], slope)
        _add_row(
            values[y, first:last],
            down[y, first:last],
            right[y, first:last],
            value,
            slope,
            weights[2],
            weights[3],
            sums,
        )
    return sums


@compiled(fastmath=FINITE)
def _mix_rows(rows: Array, weights: Array, out: Array) -> None:
    a, b, c, d = weights
    row0, row1, row2, row3 = rows[0], rows[1], rows[2], rows[3]
    for x in range(out.size):
        out[x] = a * row0[x] + b * row1[x] + c * row2[x] + d * row3[x]


@compiled(fastmath=FINITE)
def _add_row(
    values: Array,
    down: Array,
    right: Array,
    value: Array,
    slope: Array,
    weights: Array,
    slopes: Array,
    sums: Array,
) -> None:
    """Add the products of one row, summed in float32."""
    zero = np.float32(0)
    yy = yx = yg = y1 = yf = xy = xx = xg = x1 = xf = zero
    fy = fx = fg = f1 = ff = gy_1 = gx_1 = g1 = dd = rr = gg = zero
    a, b, c, d = weights
    p, q, r, s = slopes
    for x in range(values.size):
        f, f_y, f_x = values[x], down[x], right[x]
        g = a * value[x] + b * value[x + 1] + c * value[x + 2] + d * value[x + 3]
        g_x = p * value[x] + q * value[x + 1] + r * value[x + 2] + s * value[x + 3]
        g_y = a * slope[x] + b * slope[x + 1] + c * slope[x + 2] + d * slope[x + 3]
        yy += f_y * g_y
        yx += f_y * g_x
        yg += f_y * g
        y1 += f_y
        yf += f_y * f
        xy += f_x * g_y
        xx += f_x * g_x
        xg += f_x * g
        x1 += f_x
        xf += f_x * f
        fy += f * g_y
        fx += f * g_x
        fg += f * g
        f1 += f
        ff += f * f
        gy_1 += g_y
        gx_1 += g_x
        g1 += g
        dd += f_y * f_y
        rr += f_x * f_x
        gg += g * g
    sums[0] += np.array([yy, yx, yg, y1, yf])
    sums[1] += np.array([xy, xx, xg, x1, xf])
    sums[2] += np.array([fy, fx, fg, f1, ff])
    sums[3] += np.array([gy_1, gx_1, g1, np.float32(values.size), f1])
    sums[4, :3] += np.array([dd, rr, gg])
    sums[4, 4] += ff
