"""Polynomials and robust fits."""
