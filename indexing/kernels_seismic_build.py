"""Numba kernels that build the Seismic layout: prune, cluster, summarise.

Rules as in `indexing.kernels`. Every list is worked on by one thread, and depends on the seed and
its own postings only.
"""

from __future__ import annotations

import numpy as np

from indexing.jit import jit

__all__ = ["cap_list", "cluster_list", "count_postings", "scatter_postings", "summarise_list"]

U = np.uint64


@jit
def count_postings(terms, fine, threshold, counts):
    """Add to `counts` the entries by term whose fine bits reach `threshold`.

    Parameters
    ----------
    terms, fine : uint16 or uint32, uint16, shape (n,)
    threshold : int
    counts : int64, shape (n_terms,)
        Added to.
    """
    for i in range(U(len(terms))):
        if fine[i] >= threshold:
            counts[U(terms[i])] += 1


@jit
def scatter_postings(
    pointers, terms, fine, first, last, threshold, term_low, term_high, cursor, out_rows, out_fine
):
    """Write the postings of the rows ``first:last`` and the terms ``term_low:term_high``.

    Parameters
    ----------
    pointers, terms, fine
        The forward index.
    first, last, threshold, term_low, term_high : int
    cursor : int64, shape (n_terms,)
        Where the next posting of a term goes; moved on.
    out_rows, out_fine : int32, uint16
        Written.
    """
    for row in range(U(first), U(last)):
        for i in range(U(pointers[row]), U(pointers[row + U(1)])):
            term = U(terms[i])
            if fine[i] >= threshold and term >= U(term_low) and term < U(term_high):
                to = U(cursor[term])
                out_rows[to] = np.int32(row)
                out_fine[to] = fine[i]
                cursor[term] += 1


@jit
def cap_list(rows, fine, cap, out_rows, counts):
    """Write the `cap` heaviest postings of a list in their order; return how many.

    Of equal weights at the boundary the lower rows stay.

    Parameters
    ----------
    rows, fine : int32, uint16, shape (n,)
        Rows ascending.
    cap : int
    out_rows : int32, shape (min(n, cap),)
        Written.
    counts : int64, shape (256,)
        Scratch.
    """
    n = U(len(rows))
    if n <= U(cap):
        out_rows[:n] = rows
        return np.int64(n)
    # Two rounds of counting find the bits at the boundary: the high byte, then the low one.
    counts[:] = 0
    for i in range(n):
        counts[U(fine[i] >> 8)] += 1
    above = np.int64(0)
    high = np.int64(255)
    while above + counts[high] < cap:
        above += counts[high]
        high -= 1
    counts[:] = 0
    for i in range(n):
        if fine[i] >> 8 == high:
            counts[U(fine[i] & 255)] += 1
    low = np.int64(255)
    while above + counts[low] < cap:
        above += counts[low]
        low -= 1
    boundary = high * 256 + low
    ties = cap - above
    to = U(0)
    for i in range(n):
        if fine[i] > boundary:
            out_rows[to] = rows[i]
            to += U(1)
        elif fine[i] == boundary and ties > 0:
            out_rows[to] = rows[i]
            to += U(1)
            ties -= 1
    return np.int64(to)


@jit
def next_random(state):
    """Return the next 64 random bits of a splitmix64 generator and move it on.

    Parameters
    ----------
    state : uint64, shape (1,)

    References
    ----------
    Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators. OOPSLA 2014.
    """
    state[0] += U(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> U(30))) * U(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U(27))) * U(0x94D049BB133111EB)
    return z ^ (z >> U(31))


@jit
def cluster_list(
    rows,
    n_centroids,
    min_cluster_size,
    doc_cut,
    state,
    pointers,
    terms,
    coarse,
    slots,
    centroids,
    list_starts,
    touched,
    list_centroids,
    list_weights,
    similarities,
    assigned,
    sizes,
    out_rows,
    out_starts,
):
    """Divide a list into blocks of similar documents; return the number of blocks.

    `n_centroids` random documents are centroids; every document goes to the one it has the
    greatest inner product with (its `doc_cut` heaviest terms only; ties to the earlier centroid).
    The documents of clusters smaller than `min_cluster_size` then choose among the others.

    Parameters
    ----------
    rows : int32, shape (n,)
        The list.
    n_centroids : int
        1 to n.
    min_cluster_size, doc_cut : int
    state : uint64, shape (1,)
        Of the random generator.
    pointers, terms, coarse
        The forward index.
    slots : int32, shape (n_terms,)
        Scratch, zeros before and after.
    centroids : int32, shape (n,)
        Scratch.
    list_starts, touched : int64, int64, shape (> postings of the centroids,)
        Scratch for the inverted lists of the centroids.
    list_centroids, list_weights : int32, int32, shape (>= postings of the centroids,)
        Scratch.
    similarities : int32, shape (n_centroids,)
        Scratch.
    assigned, sizes : int32, int32, shape (n,)
        Scratch.
    out_rows : int32, shape (n,)
        Written: the rows by block, ascending in a block.
    out_starts : int64, shape (n,)
        Written: where the blocks start.
    """
    n = len(rows)
    # The first `n_centroids` places of a shuffle are a sample without replacement.
    centroids[:n] = rows
    for i in range(n_centroids):
        j = i + np.int64(next_random(state) % U(n - i))
        centroids[i], centroids[j] = centroids[j], centroids[i]

    # Inverted lists over the centroids, in slots by order of first sight.
    n_slots = 0
    for i in range(n_centroids):
        row = U(centroids[i])
        for at in range(U(pointers[row]), U(pointers[row + U(1)])):
            if coarse[at] == 0:
                break
            term = U(terms[at])
            if slots[term] == 0:
                touched[n_slots] = np.int64(term)
                list_starts[n_slots] = 0
                n_slots += 1
                slots[term] = np.int32(n_slots)
            list_starts[slots[term] - 1] += 1
    total = np.int64(0)
    for slot in range(n_slots):
        count = list_starts[slot]
        list_starts[slot] = total
        total += count
    list_starts[n_slots] = total
    for i in range(n_centroids):
        row = U(centroids[i])
        for at in range(U(pointers[row]), U(pointers[row + U(1)])):
            if coarse[at] == 0:
                break
            slot = slots[U(terms[at])] - 1
            to = U(list_starts[slot])
            list_centroids[to] = np.int32(i)
            list_weights[to] = np.int32(coarse[at])
            list_starts[slot] += 1
    # Filling moved every start to the next one's.
    for slot in range(n_slots, 0, -1):
        list_starts[slot] = list_starts[slot - 1]
    list_starts[0] = 0

    sizes[:n_centroids] = 0
    for attempt in range(2):
        for i in range(n):
            if attempt == 1 and sizes[assigned[i]] >= min_cluster_size:
                continue
            similarities[:n_centroids] = 0
            row = U(rows[i])
            start = U(pointers[row])
            for at in range(start, min(start + U(doc_cut), U(pointers[row + U(1)]))):
                slot = slots[U(terms[at])]
                if slot > 0:
                    weight = np.int32(coarse[at])
                    for p in range(U(list_starts[slot - 1]), U(list_starts[slot])):
                        similarities[U(list_centroids[p])] += weight * list_weights[p]
            best = np.int32(-1)
            nearest = np.int32(-1)
            for j in range(U(n_centroids)):
                if similarities[j] > best and (attempt == 0 or sizes[j] >= min_cluster_size):
                    best = similarities[j]
                    nearest = np.int32(j)
            if nearest >= 0:
                assigned[i] = nearest
        if attempt == 0:
            for i in range(n):
                sizes[assigned[i]] += 1
    for slot in range(n_slots):
        slots[touched[slot]] = 0

    # Counting sort by cluster; similarities now hold where a cluster's next row goes.
    similarities[:n_centroids] = 0
    for i in range(n):
        similarities[assigned[i]] += 1
    n_blocks = 0
    to = np.int32(0)
    for j in range(n_centroids):
        count = similarities[j]
        similarities[j] = to
        if count > 0:
            out_starts[n_blocks] = to
            n_blocks += 1
        to += count
    for i in range(n):
        out_rows[similarities[assigned[i]]] = rows[i]
        similarities[assigned[i]] += 1
    return n_blocks


@jit
def summarise_list(
    rows,
    starts,
    n_blocks,
    energy,
    pointers,
    terms,
    coarse,
    maxima,
    touched,
    histogram,
    block_terms,
    block_weights,
    block_ends,
    term_counts,
    out_components,
    out_offsets,
    out_blocks,
    out_weights,
):
    """Write the summaries of a list's blocks, by component; return their number and the entries'.

    A summary is the maximum of the block's documents in every term, cut to its heaviest entries
    that hold `energy` of its sum (ties at the cut stay).

    Parameters
    ----------
    rows : int32, shape (n,)
        The list, by block.
    starts : int64, shape (n_blocks + 1,)
    n_blocks : int
    energy : float
    pointers, terms, coarse
        The forward index.
    maxima : uint8, shape (n_terms,)
        Scratch, zeros before and after.
    touched : int64, shape (n_terms,)
        Scratch.
    histogram : int64, shape (256,)
        Scratch.
    block_terms, block_weights : int32, uint8, shape (>= postings of the documents,)
        Scratch: the summaries by block.
    block_ends : int64, shape (n_blocks,)
        Scratch.
    term_counts : int64, shape (n_terms,)
        Scratch, zeros before and after.
    out_components : the dtype of `terms`, shape (>= components,)
        Written: the terms that any summary has, ascending.
    out_offsets : uint32, shape (>= components + 1,)
        Written: where a component's entries start.
    out_blocks, out_weights : uint16, uint8, shape (>= entries,)
        Written: block within the list, and weight.
    """
    n_entries = np.int64(0)
    for block in range(n_blocks):
        n_touched = 0
        histogram[:] = 0
        for i in range(U(starts[block]), U(starts[block + 1])):
            row = U(rows[i])
            for at in range(U(pointers[row]), U(pointers[row + U(1)])):
                weight = coarse[at]
                if weight == 0:
                    break
                term = U(terms[at])
                if maxima[term] == 0:
                    touched[U(n_touched)] = np.int64(term)
                    n_touched += 1
                maxima[term] = max(maxima[term], weight)
        total = np.int64(0)
        for i in range(U(n_touched)):
            weight = U(maxima[U(touched[i])])
            histogram[weight] += 1
            total += np.int64(weight)
        # The smallest weight that stays.
        cut = np.int64(256)
        kept = np.int64(0)
        wanted = energy * total
        while cut > 1 and kept < wanted:
            cut -= 1
            kept += histogram[cut] * cut
        for i in range(U(n_touched)):
            term = U(touched[i])
            weight = maxima[term]
            maxima[term] = np.uint8(0)
            if weight >= cut:
                block_terms[U(n_entries)] = np.int32(term)
                block_weights[U(n_entries)] = weight
                term_counts[term] += 1
                n_entries += 1
        block_ends[block] = n_entries

    n_components = 0
    at = np.int64(0)
    for term in range(U(len(term_counts))):
        count = term_counts[term]
        if count > 0:
            out_components[U(n_components)] = term
            out_offsets[U(n_components)] = np.uint32(at)
            n_components += 1
            term_counts[term] = at
            at += count
    out_offsets[U(n_components)] = np.uint32(at)
    entry = np.int64(0)
    for block in range(n_blocks):
        for i in range(U(entry), U(block_ends[block])):
            term = U(block_terms[i])
            to = U(term_counts[term])
            out_blocks[to] = np.uint16(block)
            out_weights[to] = block_weights[i]
            term_counts[term] += 1
        entry = block_ends[block]
    for i in range(U(n_components)):
        term_counts[U(out_components[i])] = 0
    return n_components, n_entries
