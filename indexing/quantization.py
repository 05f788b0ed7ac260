"""Weights in fewer bits: 8 to choose candidates, 16 for the score that counts.

*Coarse*: a byte, ``round(weight * 255 / largest)``. *Fine*: a half float of the weight times a
power of two that moves the largest weight to [2**12, 2**13): multiplying by it loses nothing, and
neither the largest nor the small weights leave the range of half floats. A fine weight is within
2**-11 of the true one, relatively; a coarse one within ``largest / 510``, absolutely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from indexing.source import RowSource
from lsr.core.sparse import Float32Array, UInt8Array, UInt16Array

__all__ = ["Quantization"]

_FINE_EXPONENT = 12


@dataclass(frozen=True, slots=True)
class Quantization:
    """The two scales of a collection.

    Attributes
    ----------
    largest : float
        The collection's largest weight; 1 if it has none.
    """

    largest: float

    @classmethod
    def of(cls, source: RowSource) -> Quantization:
        """Return the scales for `source`; reads every weight once."""
        largest = max((float(s.weights.max()) for s in source.shards() if s.nnz), default=1.0)
        return cls(largest)

    @property
    def coarse_scale(self) -> float:
        """What a weight is multiplied with to become a byte."""
        return 255.0 / self.largest

    @property
    def fine_scale(self) -> float:
        """What a weight is multiplied with to become a half float: a power of two."""
        return math.ldexp(1.0, _FINE_EXPONENT + 1 - math.frexp(self.largest)[1])

    def coarse(self, weights: Float32Array) -> UInt8Array:
        """Return the bytes of `weights`."""
        scaled = weights.astype(np.float64) * self.coarse_scale
        return np.minimum(np.rint(scaled), 255).astype(np.uint8)

    def fine(self, weights: Float32Array) -> UInt16Array:
        """Return the bits of the half floats of `weights`."""
        scaled = weights.astype(np.float64) * self.fine_scale
        return scaled.astype(np.float16).view(np.uint16)

    def weights(self, fine: UInt16Array) -> Float32Array:
        """Return the weights that fine bits stand for."""
        values = fine.view(np.float16).astype(np.float64) / self.fine_scale
        return values.astype(np.float32)
