"""Formulas: what follows from numbers. Floats, arrays or polars columns in, the same out."""

from stackbook.kernels.jit import threads

__all__ = ["threads"]
