"""Learned sparse retrieval: train, encode, index, serve and evaluate.

The public names are resolved on first use, so that ``import lsr`` loads no model code.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Document": "lsr.core.records",
    "LsrError": "lsr.core.errors",
    "Query": "lsr.core.records",
    "SparseMatrix": "lsr.core.sparse",
    "SparseVector": "lsr.core.sparse",
    "Vocabulary": "lsr.core.vocabulary",
    "load_dataset": "lsr.data",
    "load_encoder": "lsr.encoders",
}

__all__ = [
    "Document",
    "LsrError",
    "Query",
    "SparseMatrix",
    "SparseVector",
    "Vocabulary",
    "load_dataset",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lsr' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
