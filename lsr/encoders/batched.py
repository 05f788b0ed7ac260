"""What all model-based encoders share: texts to batches, and rows back in the order of the texts.

Texts are tokenised once, sorted by length (longest first: what does not fit fails at once) and
run in batches of almost equal length; the rows are then put back in order. What runs a batch,
torch or ONNX Runtime, is the subclass's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lsr.core.errors import ArgumentError
from lsr.core.sparse import Int32Array, Int64Array, SparseMatrix, vstack
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import IdfConvention, Span
from lsr.encoders.pruning import prune
from lsr.encoders.tokenization import TextTokenizer

__all__ = ["BatchedEncoder", "TextOptions"]


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What happens to texts before the model and to vectors after it.

    Attributes
    ----------
    query_max_length, document_max_length : int
        Tokens beyond are cut off, special tokens included.
    query_prompt, document_prompt : str
        Put before every text.
    max_active_dims : int or None
        Keep at most so many terms a text.
    """

    query_max_length: int = 512
    document_max_length: int = 512
    query_prompt: str = ""
    document_prompt: str = ""
    max_active_dims: int | None = None

    def __post_init__(self) -> None:
        for name in ("query_max_length", "document_max_length"):
            if getattr(self, name) < 3:
                raise ArgumentError(f"{name} must be at least 3, got {getattr(self, name)}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the options by name."""
        return asdict(self)

    def with_lengths(self, query: int | None, document: int | None) -> TextOptions:
        """Return these options with the maximum lengths that are not None replaced."""
        return replace(
            self,
            query_max_length=query or self.query_max_length,
            document_max_length=document or self.document_max_length,
        )


class BatchedEncoder(ABC):
    """An encoder whose two sides run one model in batches.

    Parameters
    ----------
    tokenizer : TextTokenizer
        With the model's vocabulary size.
    name : str
        How messages call it.
    options : TextOptions
        Lengths, prompts, pruning.
    """

    def __init__(self, tokenizer: TextTokenizer, *, name: str, options: TextOptions) -> None:
        self.tokenizer = tokenizer
        self.options = options
        self._name = name

    @property
    def name(self) -> str:
        """How messages call it."""
        return self._name

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer's vocabulary."""
        return self.tokenizer.vocabulary

    @property
    def idf(self) -> IdfConvention:
        """``"none"``: the model learned what it needs of it."""
        return "none"

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return one row a query, in their order."""
        prompt, length = self.options.query_prompt, self.options.query_max_length
        return self._encode(texts, prompt, length, batch_size)

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
        """Return one row a document, in their order."""
        prompt, length = self.options.document_prompt, self.options.document_max_length
        return self._encode(texts, prompt, length, batch_size)

    def spans(self, text: str) -> list[Span]:
        """Return the word pieces of `text`."""
        return self.tokenizer.spans(text)

    def _encode(
        self, texts: Sequence[str], prompt: str, max_length: int, batch_size: int
    ) -> SparseMatrix:
        if batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1, got {batch_size}.")
        # A text without any character would get the vector of its special tokens; it has none.
        filled = [at for at, text in enumerate(texts) if text.strip()]
        ids = (
            self.tokenizer.encode(
                [prompt + texts[at] for at in filled], max_length=max_length, special_tokens=True
            )
            if filled
            else []
        )
        order = np.argsort([-len(i) for i in ids], kind="stable")
        matrices = []
        with self._running():
            for start in range(0, len(order), batch_size):
                batch = [ids[at] for at in order[start : start + batch_size]]
                matrices.append(self._run_batch(*self._pad(batch)))
        return self._assemble(matrices, np.array(filled, dtype=np.int64)[order], len(texts))

    def _running(self) -> AbstractContextManager[Any]:
        """Return what surrounds the batches of one call."""
        return nullcontext()

    @abstractmethod
    def _run_batch(self, input_ids: Int64Array, mask: Int64Array) -> SparseMatrix:
        """Return one row a text of a padded batch; both arrays have shape (batch, length)."""

    def _pad(self, batch: list[Int32Array]) -> tuple[Int64Array, Int64Array]:
        lengths = np.array([[len(ids)] for ids in batch])
        longest = int(lengths.max())
        input_ids = np.full((len(batch), longest), self.tokenizer.pad_id, dtype=np.int64)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
        return input_ids, (np.arange(longest) < lengths).astype(np.int64)

    def _assemble(
        self, matrices: list[SparseMatrix], places: Int64Array, n_texts: int
    ) -> SparseMatrix:
        size = len(self.vocabulary)
        # One empty row at the end stands for every empty text.
        empty = SparseMatrix(
            np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), (1, size)
        )
        stacked = vstack([*matrices, empty], size)
        source = np.full(n_texts, stacked.n_rows - 1, dtype=np.int64)
        source[places] = np.arange(len(places))
        return prune(stacked.take(source), max_active_dims=self.options.max_active_dims)
