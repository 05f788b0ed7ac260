"""A bi-encoder without a model: letters counted, so that texts with like letters are near."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lsr.core.sparse import Float32Array

__all__ = ["LetterEncoder"]


class LetterEncoder:
    """Stands in for `indexing.dense_encoder.DenseEncoder`.

    Parameters
    ----------
    path : Path
        A folder that `save` wrote, or any.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return "letters"

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"letters").hexdigest()

    @property
    def width(self) -> int:
        return len(string.ascii_lowercase)

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        advance: Callable[[int], None] | None = None,
    ) -> Float32Array:
        rows: Float32Array = np.array(
            [[text.lower().count(letter) for letter in string.ascii_lowercase] for text in texts],
            dtype=np.float32,
        )
        if advance is not None:
            advance(len(texts))
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.maximum(norms, 1e-9)

    def save(self, path: Path) -> None:
        path.mkdir()
        (path / "config.json").write_text("{}")
