"""Numba kernels that make the forward index; rules as in `indexing.kernels`."""

from __future__ import annotations

import numpy as np

from indexing.jit import jit

__all__ = ["order_rows"]

U = np.uint64


@jit
def order_rows(pointers, terms, coarse, fine, out_terms, out_coarse, out_fine, counts):
    """Write every row with its terms by coarse weight descending, ties in their order.

    Parameters
    ----------
    pointers : int64, shape (n_rows + 1,)
    terms, coarse, fine : uint16 or uint32, uint8, uint16, shape (nnz,)
    out_terms, out_coarse, out_fine
        Written; the same types and shapes.
    counts : int64, shape (257,)
        Scratch.
    """
    for row in range(U(len(pointers) - 1)):
        start = U(pointers[row])
        stop = U(pointers[row + U(1)])
        counts[:] = 0
        for i in range(start, stop):
            counts[U(256) - U(coarse[i])] += 1
        for bucket in range(U(1), U(257)):
            counts[bucket] += counts[bucket - U(1)]
        # counts[255 - c] is now where the entries of coarse weight c start.
        for i in range(start, stop):
            bucket = U(255) - U(coarse[i])
            to = start + U(counts[bucket])
            counts[bucket] += 1
            out_terms[to] = terms[i]
            out_coarse[to] = coarse[i]
            out_fine[to] = fine[i]
