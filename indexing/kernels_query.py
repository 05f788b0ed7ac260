"""Numba kernels that prepare a query: which terms choose the blocks, and in which units.

Estimates are integers: the *scale* turns a score into units such that the query terms together
stay within the bits of a sum.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit

__all__ = [
    "ESTIMATE_UNITS",
    "MAX_TERMS",
    "bound_scale",
    "clear_query",
    "fill_table",
    "largest_score",
    "left_out",
    "set_query",
    "term_threshold",
]

U = np.uint64

MAX_TERMS = 2_048
"""Query terms that take part in estimates; the others add a constant to every bound."""

ESTIMATE_UNITS = 384
"""All terms together in an 8-bit estimate: no block comes near, so sums that stay at 255 will do,
and one and a half times the resolution is gained."""

_LIMIT = 65_535


@jit
def term_threshold(weights, mass, max_terms):
    """Return the smallest weight of the heaviest terms that cover `mass` of all weight.

    At most about `max_terms` terms are at or above it; 0 if all terms are.
    """
    n = U(len(weights))
    total = np.float64(0)
    heaviest = np.float32(0)
    for j in range(n):
        total += np.float64(weights[j])
        heaviest = max(heaviest, weights[j])
    if mass >= 1 and n <= U(max_terms):
        return np.float32(0)
    wanted = np.float64(mass) * total
    low = np.float32(0)
    high = heaviest
    # Largest threshold whose terms cover the mass (or smallest that leaves few enough).
    for _ in range(24):
        middle = np.float32(0.5) * (low + high)
        covered = np.float64(0)
        count = U(0)
        for j in range(n):
            if weights[j] >= middle:
                covered += np.float64(weights[j])
                count += U(1)
        if covered >= wanted or count > U(max_terms):
            low = middle
        else:
            high = middle
    return low


@jit
def largest_score(query, threshold, term_max):
    """Return the most that the terms from `threshold` on could give a document."""
    bound = np.float64(0)
    for j in range(U(len(query.terms))):
        if query.weights[j] >= threshold:
            bound += np.float64(query.weights[j]) * np.float64(term_max[U(query.terms[j])])
    return bound


@jit
def left_out(query, term_max):
    """Return the most that the terms beyond `MAX_TERMS` can add to a score."""
    total = np.float64(0)
    for j in range(U(MAX_TERMS), U(len(query.terms))):
        total += np.float64(query.weights[j]) * np.float64(term_max[U(query.terms[j])])
    return total


@jit
def bound_scale(n_terms, bound):
    """Return the units of a score of 1 with which the sum of all bounds fits in 16 bits."""
    # Every term is rounded up: by less than 15 units in a dense row, 1 in a list.
    return (np.float64(_LIMIT) - np.float64(16) * np.float64(min(n_terms, MAX_TERMS))) / bound


@jit
def fill_table(unit, tables, at):
    """Write what each 4-bit level of a term adds to an 8-bit estimate; `unit` is one level's."""
    tables[at] = np.uint8(0)
    for level in range(U(1), U(16)):
        # Levels are rounded up: half a level less is right on average.
        value = (np.float64(level) - np.float64(0.5)) * unit + np.float64(0.5)
        tables[at + level] = np.uint8(min(value, np.float64(255)))


@jit
def set_query(query, coarse, fine):
    """Write the query's weights by term, in 8 bits and as they are.

    Returns
    -------
    float
        Coarse weight of a query weight of 1; 0 if no weight is above 0, and nothing is written.
    """
    heaviest = np.float32(0)
    for j in range(U(len(query.terms))):
        heaviest = max(heaviest, query.weights[j])
    if heaviest <= 0:
        return np.float64(0)
    # A sum of products of bytes must stay within 31 bits however long the query.
    level = min(255, (2**31 - 1) // (255 * len(query.terms)))
    scale = np.float64(level) / np.float64(heaviest)
    for j in range(U(len(query.terms))):
        t = U(query.terms[j])
        coarse[t] = np.uint8(np.rint(np.float64(query.weights[j]) * scale))
        fine[t] = query.weights[j]
    return scale


@jit
def clear_query(query, coarse, fine):
    """Undo `set_query`."""
    for j in range(U(len(query.terms))):
        t = U(query.terms[j])
        coarse[t] = np.uint8(0)
        fine[t] = np.float32(0)
