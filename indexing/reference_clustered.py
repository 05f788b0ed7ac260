"""The kernels of the clustered layout in plain numpy: same names, same arguments, same results.

Slow and short; the tests compare the two. `clustered_search` is brute force: the twin of the exact
mode. Scratch arguments are taken and ignored, except where a kernel's result is in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from indexing.filters import rows_of
from indexing.kernels_blocks import CHUNK_BLOCKS, CHUNK_BYTES, CHUNK_PARTS, PART_BYTES
from indexing.kernels_clustered import GROUP, MAX_TERMS

__all__ = [
    "add_dense",
    "bound_blocks",
    "clustered_search",
    "copy_rows",
    "count_block_terms",
    "estimate_blocks",
    "fill_block_maxima",
    "group_alike",
    "merge_alike",
    "project_points",
    "project_rows",
    "regroup_run",
    "score_fine",
    "term_maxima",
]

Array = Any


def _slots(n_blocks: int, row_bytes: int) -> Array:
    """Return where each block's accumulator stands, counted over all chunks."""
    block = np.arange(n_blocks)
    start = block // CHUNK_BLOCKS * CHUNK_BYTES
    size = np.minimum(CHUNK_BYTES, row_bytes - start)
    local = block % CHUNK_BLOCKS
    return 2 * start + local // 16 * 8 + local % 8 + (local // 8 % 2) * size


def _tops(accumulator: Array, groups: Array, tops: Array) -> None:
    """Fill the maxima of groups and top groups of all chunks."""
    row_bytes = len(accumulator) // 2
    for start in range(0, row_bytes, CHUNK_BYTES):
        stop = min(row_bytes, start + CHUNK_BYTES)
        here = accumulator[2 * start : 2 * stop].reshape(GROUP, -1).max(axis=0)
        groups[start // 4 : stop // 4] = here
        tops[start // 32 : stop // 32] = here.reshape(GROUP, -1).max(axis=0)


def add_dense(
    low: Array,
    high: Array,
    dense: Array,
    row_bytes: int,
    start: int,
    n: int,
    rows: Array,
    weights: Array,
    n_rows: int,
) -> None:
    """Add rows of 4-bit levels, each times its weight, to accumulators."""
    for row, weight in zip(rows[:n_rows], weights[:n_rows], strict=True):
        levels = dense[row * row_bytes + start : row * row_bytes + start + n].astype(np.uint16)
        low[:n] += (levels & 15) * weight
        high[:n] += (levels >> 4) * weight


def _levels(term: int, dense_row: Array, dense: Array, lists: Any, row_bytes: int) -> Array:
    """Return the level of a term in every accumulator: of 15 if it has a dense row, else of 255."""
    bases, pointers, slots, levels, n_terms = lists
    found = np.zeros(2 * row_bytes, dtype=np.int64)
    for chunk, start in enumerate(range(0, row_bytes, CHUNK_BYTES)):
        stop = min(row_bytes, start + CHUNK_BYTES)
        if dense_row[term] >= 0:
            at = dense_row[term] * row_bytes
            row = dense[at + start : at + stop]
            found[2 * start : 2 * stop] = np.concatenate([row & 15, row >> 4])
        else:
            n_parts = -(-(stop - start) // PART_BYTES)
            at = chunk * (n_terms * CHUNK_PARTS + 1) + term * n_parts
            here = slice(bases[chunk] + pointers[at], bases[chunk] + pointers[at + n_parts])
            found[2 * start + slots[here].astype(np.int64)] = levels[here]
    return found


def bound_blocks(
    query_terms: Array,
    query_weights: Array,
    threshold: float,
    scale: float,
    n_terms: int,
    term_max: Array,
    dense_row: Array,
    dense: Array,
    list_bases: Array,
    list_pointers: Array,
    list_slots: Array,
    list_levels: Array,
    rows: Array,
    weights: Array,
    accumulator: Array,
    groups: Array,
    tops: Array,
) -> None:
    """Write an upper bound, in units, of the score that each block's documents can have."""
    lists = (list_bases, list_pointers, list_slots, list_levels, n_terms)
    used = np.flatnonzero(query_weights >= threshold)[:MAX_TERMS]
    total = np.zeros(len(accumulator), dtype=np.int64)
    for term, weight in zip(query_terms[used].tolist(), query_weights[used].tolist(), strict=True):
        levels = _levels(term, dense_row, dense, lists, len(accumulator) // 2)
        unit = float(weight) * float(term_max[term]) * scale
        if dense_row[term] >= 0:
            total += levels * int(np.ceil(unit / 15))
        else:
            total += (levels * int(np.ceil(unit * (65536 / 255))) + 65535) >> 16
    accumulator[:] = total
    _tops(accumulator, groups, tops)


def estimate_blocks(
    query_terms: Array,
    query_weights: Array,
    threshold: float,
    scale: float,
    n_terms: int,
    term_max: Array,
    dense_row: Array,
    dense: Array,
    list_bases: Array,
    list_pointers: Array,
    list_slots: Array,
    list_levels: Array,
    rows: Array,
    tables: Array,
    accumulator: Array,
    groups: Array,
    tops: Array,
) -> None:
    """Write an estimate in 8 bits of the best score in each block; sums stay at 255."""
    lists = (list_bases, list_pointers, list_slots, list_levels, n_terms)
    used = np.flatnonzero(query_weights >= threshold)
    total = np.zeros(len(accumulator), dtype=np.int64)
    for term, weight in zip(query_terms[used].tolist(), query_weights[used].tolist(), strict=True):
        levels = _levels(term, dense_row, dense, lists, len(accumulator) // 2)
        unit = float(weight) * float(term_max[term]) * scale
        if dense_row[term] >= 0:
            table = np.minimum((np.arange(16) - 0.5) * (unit / 15) + 0.5, 255).astype(np.int64)
            table[0] = 0
            total += table[levels]
        else:
            total += (levels * int(unit * (65536 / 255)) + 32768) >> 16
    accumulator[:] = np.minimum(total, 255)
    _tops(accumulator, groups, tops)


def score_fine(pointers: Array, terms: Array, fine: Array, query: Array, position: int) -> Any:
    """Return a document's score in float32, summed as even postings plus odd ones."""
    here = slice(pointers[position], pointers[position + 1])
    products = query[terms[here].astype(np.int64)] * fine[here].view(np.float16).astype(np.float32)
    even, odd = np.float32(0), np.float32(0)
    for value in products[0::2]:
        even += value
    for value in products[1::2]:
        odd += value
    return even + odd


def clustered_search(
    document_rows: Array,
    pointers: Array,
    terms: Array,
    fine: Array,
    inverse_fine_scale: Any,
    query_terms: Array,
    query_weights: Array,
    k: int,
    allowed: Array,
    n_terms: int,
) -> tuple[Array, Array]:
    """Return the exact best `k` rows and scores by scoring every document."""
    query = np.zeros(n_terms, dtype=np.float32)
    query[query_terms] = query_weights
    n = len(document_rows)
    scores = np.zeros(n, dtype=np.float32)
    for position in range(n):
        score = score_fine(pointers, terms, fine, query, position) * inverse_fine_scale
        scores[document_rows[position]] = score
    rows = np.flatnonzero(scores > 0)
    if len(allowed):
        rows = np.intersect1d(rows, rows_of(allowed, n))
    best = rows[np.lexsort((rows, -scores[rows]))][:k]
    return best.astype(np.int32), scores[best]


def term_maxima(terms: Array, fine: Array, out: Array) -> None:
    """Raise ``out[t]`` to the largest weight of every term `t` among some postings."""
    np.maximum.at(out, terms.astype(np.int64), fine.view(np.float16).astype(np.float32))


def _block_maxima(
    pointers: Array, terms: Array, fine: Array, block_rows: int, block: int, n_terms: int
) -> Array:
    last = min(len(pointers) - 1, (block + 1) * block_rows)
    here = slice(pointers[block * block_rows], pointers[last])
    maxima = np.zeros(n_terms, dtype=np.float32)
    term_maxima(terms[here], fine[here], maxima)
    return maxima


def count_block_terms(
    pointers: Array,
    terms: Array,
    fine: Array,
    block_rows: int,
    first: int,
    last: int,
    seen: Array,
    counts: Array,
) -> None:
    """Add 1 to ``counts[t]`` for every block of ``first:last`` that holds term `t`."""
    for block in range(first, last):
        counts += _block_maxima(pointers, terms, fine, block_rows, block, len(counts)) > 0


def fill_block_maxima(
    pointers: Array,
    terms: Array,
    fine: Array,
    block_rows: int,
    first: int,
    last: int,
    chunk_bytes: int,
    term_max: Array,
    dense_row: Array,
    dense: Array,
    cursor: Array,
    list_slots: Array,
    list_levels: Array,
    maxima: Array,
    touched: Array,
) -> None:
    """Write the maxima of the blocks ``first:last``, which lie in one chunk."""
    for block in range(first, last):
        found = _block_maxima(pointers, terms, fine, block_rows, block, len(term_max))
        local = block % CHUNK_BLOCKS
        high = local // 8 % 2
        byte = local // 16 * 8 + local % 8
        for term in np.flatnonzero(found):
            share = float(found[term]) / float(term_max[term])
            if dense_row[term] >= 0:
                level = int(np.ceil(15 * share - 1e-9))
                at = block // CHUNK_BLOCKS * CHUNK_BYTES + byte
                dense[dense_row[term], at] |= level << (4 * high)
            else:
                list_slots[cursor[term]] = byte + high * chunk_bytes
                list_levels[cursor[term]] = int(np.ceil(255 * share - 1e-9))
                cursor[term] += 1


def project_rows(
    indptr: Array,
    terms: Array,
    weights: Array,
    directions: Array,
    norms: Array,
    scale: Any,
    row_buffer: Array,
    out: Array,
) -> None:
    """Write the unit-length projections of rows, in 8 bits."""
    for row in range(len(indptr) - 1):
        here = slice(indptr[row], indptr[row + 1])
        point = weights[here].astype(np.float64) @ directions[terms[here]].astype(np.float64)
        length = np.sqrt((point**2).sum())
        if length > 0:
            point = point * (float(scale) / length)
        out[row] = np.clip(np.rint(point), -127, 127)


def project_points(points: Array, direction: Array, out: Array) -> None:
    """Write the inner product of every point with `direction`."""
    out[:] = points.astype(np.int64) @ direction.astype(np.int64)


def group_alike(
    similarity: Array, n: int, group: int, used: Array, total: Array, out: Array
) -> None:
    """Order `n` items so that each `group` of them is alike, greedily."""
    left = list(range(n))
    placed: list[int] = []
    while left:
        pairs = [(-similarity[i, j], i, j) for i in left for j in left if i < j]
        members = list(min(pairs)[1:]) if pairs and group > 1 else [left[0]]
        left = [item for item in left if item not in members]
        while left and len(members) < group:
            best = max(left, key=lambda item: (similarity[members, item].sum(), -item))
            members.append(best)
            left.remove(best)
        placed += members
    out[:n] = placed


def merge_alike(similarity: Array, n: int, group: int, order: Array, merged: Array) -> None:
    """Write the similarity of whole groups of consecutive items: the sum over their pairs."""
    n_groups = n // group
    items = order[: n_groups * group].reshape(n_groups, group)
    for g, h in np.ndindex(n_groups, n_groups):
        merged[g, h] = 0 if g == h else similarity[np.ix_(items[g], items[h])].sum()


def regroup_run(
    indptr: Array,
    terms: Array,
    weights: Array,
    group: int,
    dense: Array,
    similarity: Array,
    merged: Array,
    inverse_norms: Array,
    used: Array,
    order: Array,
    out: Array,
) -> None:
    """Order the rows of one run: groups of like rows, then groups of like groups, to the top."""
    n = len(indptr) - 1
    vectors = np.zeros((n, len(dense)))
    for row in range(n):
        here = slice(indptr[row], indptr[row + 1])
        vectors[row, terms[here]] = weights[here]
    lengths = np.linalg.norm(vectors, axis=1)
    vectors /= np.where(lengths > 0, lengths, 1)[:, None]
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, 0)
    group_alike(cosine, n, group, used, inverse_norms, out)
    size = group
    while group > 1 and n // size > group:
        whole = n // size
        sums = np.zeros((whole, whole))
        merge_alike(cosine, whole * size, size, out, sums)
        moved = np.empty(whole, dtype=np.int64)
        group_alike(sums, whole, group, used, inverse_norms, moved)
        out[: whole * size] = out[: whole * size].reshape(whole, size)[moved].reshape(-1)
        size *= group


def copy_rows(
    indptr: Array,
    terms: Array,
    weights: Array,
    positions: Array,
    first: int,
    last: int,
    out_indptr: Array,
    out_terms: Array,
    out_weights: Array,
) -> None:
    """Copy the rows whose position lies in ``first:last`` to where it says."""
    for row in np.flatnonzero((positions >= first) & (positions < last)):
        here = slice(indptr[row], indptr[row + 1])
        at = out_indptr[positions[row] - first]
        out_terms[at : at + here.stop - here.start] = terms[here]
        out_weights[at : at + here.stop - here.start] = weights[here]
