"""Weights as whole numbers, which Lucene, PISA and BMP count like term frequencies."""

from __future__ import annotations

import numpy as np

from lsr.core.errors import ArgumentError, DataError
from lsr.core.sparse import SparseMatrix, SparseVector

__all__ = ["DEFAULT_SCALE", "impact_matrix", "to_impacts"]

DEFAULT_SCALE = 100.0
"""What SPLADE's own export multiplies weights by."""


def to_impacts(vector: SparseVector, scale: float) -> SparseVector:
    """Return `vector` times `scale`, rounded half to even; weights that become 0 are dropped.

    Raises
    ------
    ArgumentError
        If `scale` is not a positive number.
    DataError
        If an impact is above 2²⁴, where float32 no longer holds every whole number.
    """
    if not (scale > 0 and np.isfinite(scale)):
        raise ArgumentError(f"The scale must be a number greater than 0, got {scale!r}.")
    impacts = np.rint(vector.weights.astype(np.float64) * scale)
    if len(impacts) and impacts.max() > 1 << 24:
        raise DataError(
            f"A weight of {float(vector.weights.max())!r} becomes the impact {impacts.max():.0f}, "
            f"more than {1 << 24}.",
            hint="Choose a smaller scale.",
        )
    keep = impacts > 0
    return SparseVector(
        vector.terms[keep], np.ascontiguousarray(impacts[keep], dtype=np.float32), vector.size
    )


def impact_matrix(matrix: SparseMatrix, scale: float) -> SparseMatrix:
    """Return all rows of `matrix` as `to_impacts` gives them."""
    return SparseMatrix.from_rows((to_impacts(row, scale) for row in matrix), matrix.size)
