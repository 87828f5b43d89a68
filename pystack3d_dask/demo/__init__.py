"""Stacks with known defects and a known truth: for a first look, for tests, for benchmarks."""

from pystack3d_dask.demo.fields import VOXEL_SIZE
from pystack3d_dask.demo.params import params_toml
from pystack3d_dask.demo.score import Score, score, score_result, shift_error
from pystack3d_dask.demo.stack import SMALLEST, DemoStack

__all__ = [
    "SMALLEST",
    "VOXEL_SIZE",
    "DemoStack",
    "Score",
    "params_toml",
    "score",
    "score_result",
    "shift_error",
]
