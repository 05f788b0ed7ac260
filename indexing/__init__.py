"""Indexes over sparse document vectors: exact and approximate, behind one interface.

The public names are resolved on first use, so that ``import indexing`` compiles nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "BatchResult": "indexing.base",
    "Collection": "indexing.collection",
    "CollectionConfig": "indexing.collection_config",
    "ExactIndex": "indexing.exact",
    "ExactLayout": "indexing.config",
    "IndexConfig": "indexing.config",
    "IndexFolder": "indexing.storage",
    "SearchResult": "indexing.base",
    "SparseIndex": "indexing.base",
    "build_index": "indexing.build",
    "load_index": "indexing.storage",
}

__all__ = [
    "BatchResult",
    "Collection",
    "CollectionConfig",
    "ExactIndex",
    "ExactLayout",
    "IndexConfig",
    "IndexFolder",
    "SearchResult",
    "SparseIndex",
    "build_index",
    "load_index",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'indexing' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
