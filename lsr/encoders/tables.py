"""Weights by term, and the fingerprint of what is made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.core.sparse import Float32Array, Int64Array
from lsr.core.vocabulary import Vocabulary

__all__ = ["bm25_idf", "fingerprint"]


def bm25_idf(df: Int64Array, n_documents: int) -> Float32Array:
    """Return ``ln(1 + (n - df + .5) / (df + .5))`` by term, always greater than 0.

    Parameters
    ----------
    df : int64, shape (n_terms,)
        Number of documents each term stands in.
    n_documents : int
        Size of the corpus.
    """
    counts = df.astype(np.float64)
    return np.log1p((n_documents - counts + 0.5) / (counts + 0.5)).astype(np.float32)


def fingerprint(
    config: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], vocabulary: Vocabulary
) -> str:
    """Return the SHA-256 of a config, of named arrays and of a vocabulary, in hexadecimal.

    Parameters
    ----------
    config : mapping
        JSON values.
    arrays : mapping of str to array
        Any dtype; name, dtype and shape count too.
    vocabulary : Vocabulary
        Counts by its own fingerprint.
    """
    digest = hashlib.sha256(json.dumps(dict(config), sort_keys=True).encode())
    digest.update(vocabulary.fingerprint.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
