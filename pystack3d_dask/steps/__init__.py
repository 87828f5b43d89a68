"""The corrections: each file holds the kernels of one, and its declaration."""
