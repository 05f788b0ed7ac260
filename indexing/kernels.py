"""Numba kernels of exact search, and the result heap.

Arrays in, caller's buffers out; no allocation, no Python objects, no exceptions. Index arrays and
queries are C-contiguous and read-only (`indexing.jit.read_only`), scratch is writable. Every
kernel has a plain numpy twin of the same name and arguments in `indexing.reference`.

Loop indices are unsigned: a signed index makes numba test for a negative one at every access.

A result is one 64-bit key, the score's bits above the complement of the row. Positive floats order
like their bits, so the larger key is the better result by the ranking rule (score descending, then
row ascending), and no two keys are equal: results never depend on the order of insertion.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit

__all__ = [
    "CHUNK_ROWS",
    "document_terms",
    "exact_search",
    "log_sum",
    "score_rows",
    "score_vectors",
    "set_rows",
    "transpose_rows",
]

U = np.uint64

CHUNK_ROWS = 65_536
"""Rows a chunk: the local row fits in u16, the float32 accumulator (256 KiB) in a core's cache."""

_GROUP = 64
_ROW_MASK = np.uint64(0xFFFFFFFF)


@jit
def heap_insert(heap, size, k, key):
    """Insert `key` into the min-heap of the best `k` keys; return the new size.

    Parameters
    ----------
    heap : uint64, shape (>= k,)
        Or int32, where only scores are kept.
    size, k : int
    key : uint64
        Or int32.
        If the heap is full, it must be greater than ``heap[0]``, which it replaces.
    """
    if size < k:
        at = U(size)
        while at > U(0):
            parent = (at - U(1)) >> U(1)
            if heap[parent] <= key:
                break
            heap[at] = heap[parent]
            at = parent
        heap[at] = key
        return size + 1
    replace_least(heap, U(size), key)
    return size


@jit
def replace_least(heap, n, key):
    """Put `key` into the place of the least of a min-heap's first `n` keys, and let it sink."""
    at = U(0)
    while True:
        child = U(2) * at + U(1)
        if child >= n:
            break
        if child + U(1) < n and heap[child + U(1)] < heap[child]:
            child += U(1)
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key


@jit
def heap_drain(heap, size, out_rows, out_score_bits):
    """Write the heap's results, best first; the heap is left sorted descending.

    Parameters
    ----------
    heap : uint64, shape (>= size,)
    size : int
    out_rows, out_score_bits : int32, shape (>= size,)
    """
    last = U(size)
    while last > U(1):
        last -= U(1)
        key = heap[last]
        heap[last] = heap[U(0)]
        replace_least(heap, last, key)
    for i in range(U(size)):
        out_score_bits[i] = np.int32(heap[i] >> U(32))
        out_rows[i] = np.int32(_ROW_MASK - (heap[i] & _ROW_MASK))


@jit
def exact_search(
    pointers,
    rows,
    weights,
    n_documents,
    n_terms,
    indptr,
    query_terms,
    query_weights,
    first,
    last,
    k,
    allowed,
    accumulator,
    accumulator_bits,
    heap,
    out_rows,
    out_score_bits,
):
    """Score all documents for the queries ``first:last`` and write the best `k` of each.

    Chunk by chunk: add every posting of the query's terms into the accumulator, in the order of
    the terms and in float32 (products rounded, no fused multiply-add), then scan it in groups of
    64 for scores above the k-th so far, and clear it.

    Parameters
    ----------
    pointers : int64, shape (n_chunks * n_terms + 1,)
        Postings of term `t` in chunk `c` are ``pointers[c * n_terms + t]`` to the next one.
    rows : uint16, shape (nnz,)
        Row within the chunk, ascending in a list.
    weights : float32, shape (nnz,)
    n_documents, n_terms : int
    indptr, query_terms, query_weights : int64, int32, float32
        The queries, in compressed rows.
    first, last, k : int
    allowed : uint64, shape (ceil(n_documents / 64),) or (0,)
        Row bitmap; empty where every row may be a result.
    accumulator : float32, shape (CHUNK_ROWS,)
        Scratch, zeros before and after.
    accumulator_bits : int32, shape (CHUNK_ROWS,)
        The same memory. Integer maxima are vectorised, float maxima are not (NaN).
    heap : uint64, shape (k,)
        Scratch.
    out_rows, out_score_bits : int32, shape (n_queries, k)
        Rows padded with -1 and bits of the float32 scores padded with 0 by the caller.
    """
    n_chunks = (n_documents + CHUNK_ROWS - 1) // CHUNK_ROWS
    filtered = len(allowed) > 0
    for query in range(first, last):
        size = 0
        # Bits of the k-th score so far. A later row of an equal score loses: greater only.
        threshold = np.int32(0)
        for chunk in range(n_chunks):
            base = chunk * n_terms
            touched = U(0)
            for j in range(U(indptr[query]), U(indptr[query + 1])):
                at = U(base + query_terms[j])
                start = U(pointers[at])
                stop = U(pointers[at + U(1)])
                weight = query_weights[j]
                touched += stop - start
                for i in range(start, stop):
                    accumulator[U(rows[i])] += weight * weights[i]
            if touched == U(0):
                continue
            chunk_start = U(chunk) * U(CHUNK_ROWS)
            n_here = min(U(CHUNK_ROWS), U(n_documents) - chunk_start)
            for group in range((n_here + U(_GROUP - 1)) // U(_GROUP)):
                low = group * U(_GROUP)
                high = np.int32(0)
                for i in range(low, low + U(_GROUP)):
                    high = max(high, accumulator_bits[i])
                if high > threshold:
                    for i in range(low, low + U(_GROUP)):
                        bits = accumulator_bits[i]
                        if bits > threshold:
                            row = chunk_start + i
                            if filtered and (allowed[row >> U(6)] >> (row & U(63))) & U(1) == U(0):
                                continue
                            key = (U(bits) << U(32)) | (_ROW_MASK - row)
                            size = heap_insert(heap, size, k, key)
                            if size == k:
                                threshold = np.int32(heap[U(0)] >> U(32))
            accumulator_bits[:n_here] = 0
        heap_drain(heap, size, out_rows[query], out_score_bits[query])


@jit
def transpose_rows(indptr, terms, weights, base, pointers, out_rows, out_weights, cursor):
    """Write the postings of a chunk of rows, by term and then by row.

    Parameters
    ----------
    indptr : int64, shape (n_rows + 1,)
        Offsets into `terms` and `weights`; `n_rows` is at most `CHUNK_ROWS`.
    terms, weights : int32, float32
    base : int
        Where the chunk's postings start in the whole index.
    pointers : int64, shape (n_terms,)
        Written: the start of each term's list.
    out_rows, out_weights : uint16, float32, shape (nnz of the chunk,)
        Written.
    cursor : int64, shape (n_terms,)
        Scratch.
    """
    cursor[:] = 0
    for i in range(U(indptr[0]), U(indptr[len(indptr) - 1])):
        cursor[U(terms[i])] += 1
    total = np.int64(0)
    for term in range(U(len(cursor))):
        count = cursor[term]
        cursor[term] = total
        pointers[term] = base + total
        total += count
    for row in range(U(len(indptr) - 1)):
        for i in range(U(indptr[row]), U(indptr[row + U(1)])):
            term = U(terms[i])
            to = U(cursor[term])
            out_rows[to] = np.uint16(row)
            out_weights[to] = weights[i]
            cursor[term] += 1


@jit
def document_terms(pointers, rows, weights, n_terms, row, out_terms, out_weights):
    """Write the terms and weights of one row, terms ascending; return how many.

    Parameters
    ----------
    pointers, rows, weights, n_terms
        As in `exact_search`.
    row : int
    out_terms, out_weights : int32, float32, shape (n_terms,)
        Written.
    """
    base = (row // CHUNK_ROWS) * n_terms
    local = np.uint16(row % CHUNK_ROWS)
    n = U(0)
    for term in range(U(n_terms)):
        low = U(pointers[U(base) + term])
        stop = U(pointers[U(base) + term + U(1)])
        high = stop
        while low < high:
            middle = (low + high) >> U(1)
            if rows[middle] < local:
                low = middle + U(1)
            else:
                high = middle
        if low < stop and rows[low] == local:
            out_terms[n] = np.int32(term)
            out_weights[n] = weights[low]
            n += U(1)
    return np.int64(n)


@jit
def score_rows(pointers, rows, weights, n_terms, query_terms, query_weights, wanted, out_scores):
    """Write the scores of some rows: each list is searched for them rather than read.

    Sums are made in the order of the terms, as in `exact_search`: the same bits.

    Parameters
    ----------
    pointers, rows, weights, n_terms
        As in `exact_search`.
    query_terms, query_weights : int32, float32, shape (nnz,)
    wanted : int64, shape (n,)
        Rows, ascending.
    out_scores : float32, shape (n,)
        Written.
    """
    out_scores[:] = np.float32(0)
    first = U(0)
    n = U(len(wanted))
    while first < n:
        chunk = U(wanted[first]) // U(CHUNK_ROWS)
        last = first
        while last < n and U(wanted[last]) // U(CHUNK_ROWS) == chunk:
            last += U(1)
        base = chunk * U(n_terms)
        for j in range(U(len(query_terms))):
            at = base + U(query_terms[j])
            low = U(pointers[at])
            stop = U(pointers[at + U(1)])
            weight = query_weights[j]
            for i in range(first, last):
                local = np.uint16(U(wanted[i]) % U(CHUNK_ROWS))
                # Gallop from where the row before was found, then halve.
                step = U(1)
                high = low
                while high < stop and rows[high] < local:
                    low = high + U(1)
                    high += step
                    step += step
                high = min(high, stop)
                while low < high:
                    middle = (low + high) >> U(1)
                    if rows[middle] < local:
                        low = middle + U(1)
                    else:
                        high = middle
                if low == stop:
                    break
                if rows[low] == local:
                    out_scores[i] += weight * weights[low]
        first = last


@jit
def score_vectors(indptr, terms, weights, query, out_scores):
    """Write the score of every vector of a small matrix against a dense query.

    Parameters
    ----------
    indptr, terms, weights : int64, int32, float32
        The vectors, in compressed rows.
    query : float32, shape (n_terms,)
        A weight for every term, mostly 0: adding a product of 0 leaves the bits of a sum alone.
    out_scores : float32, shape (n_rows,)
        Written.
    """
    for row in range(U(len(indptr) - 1)):
        total = np.float32(0)
        for i in range(U(indptr[row]), U(indptr[row + U(1)])):
            total += query[U(terms[i])] * weights[i]
        out_scores[row] = total


@jit
def log_sum(words, first, second):
    """Return SQLite's running checksum of its write-ahead log, packed as ``first << 32 | second``.

    Parameters
    ----------
    words : uint32, shape (n,)
        `n` is even; already in the byte order that the log's header names.
    first, second : int
        The sum so far.
    """
    x = U(first)
    y = U(second)
    mask = U(0xFFFFFFFF)
    for i in range(U(0), U(len(words)), U(2)):
        x = (x + U(words[i]) + y) & mask
        y = (y + U(words[i + U(1)]) + x) & mask
    return (x << U(32)) | y


@jit
def set_rows(words, out_rows):
    """Write the rows whose bit is set, ascending; return how many.

    Parameters
    ----------
    words : uint64, shape (n,)
        Row bitmap.
    out_rows : int64, shape (>= number of set bits,)
        Written.
    """
    n = U(0)
    for at in range(U(len(words))):
        word = words[at]
        row = at << U(6)
        while word != U(0):
            # Skip what is empty by halves of what is left: no instruction counts trailing zeros here.
            if word & U(0xFFFFFFFF) == U(0):
                word >>= U(32)
                row += U(32)
            if word & U(0xFFFF) == U(0):
                word >>= U(16)
                row += U(16)
            if word & U(0xFF) == U(0):
                word >>= U(8)
                row += U(8)
            while word & U(1) == U(0):
                word >>= U(1)
                row += U(1)
            out_rows[n] = np.int64(row)
            n += U(1)
            word >>= U(1)
            row += U(1)
    return np.int64(n)
