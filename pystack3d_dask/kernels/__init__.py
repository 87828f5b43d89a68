"""Arrays in, arrays out: the computations, usable without the rest of the package."""
