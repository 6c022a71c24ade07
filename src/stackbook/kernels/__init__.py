"""Formulas: what follows from numbers. Floats, arrays or polars columns in, the same out."""
