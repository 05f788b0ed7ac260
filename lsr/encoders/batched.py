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
from lsr.core.origins import Origins, places_in
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

    def encode_with_origins(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> tuple[SparseMatrix, Origins]:
        """Return `encode_documents`' vectors, and where in the texts each weight comes from."""
        self._check_batch_size(batch_size)
        prompt = self.options.document_prompt
        filled = _filled(texts)
        ids, offsets = self.tokenizer.encode_with_offsets(
            [prompt + texts[at] for at in filled], max_length=self.options.document_max_length
        )
        order = _longest_first(ids)
        matrices, starts, ends = [], [], []
        with self._running():
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                matrix, positions = self._run_traced(*self._pad([ids[at] for at in chosen]))
                pieces = _pieces(matrix, positions, [offsets[at] for at in chosen])
                # What stands in the prompt is no piece of the text.
                inside = pieces[:, 0] >= len(prompt)
                pieces = np.where(inside[:, None], pieces - len(prompt), 0)
                pieces[pieces[:, 0] == pieces[:, 1]] = 0
                matrices.append(matrix)
                starts.append(pieces[:, 0])
                ends.append(pieces[:, 1])
        stacked, source = self._stack(matrices, np.array(filled, np.int64)[order], len(texts))
        nothing = np.empty(0, np.int32)
        origins = Origins(np.concatenate([*starts, nothing]), np.concatenate([*ends, nothing]))
        whole, origins = stacked.take(source), origins.take(stacked.entries(source)[1])
        kept = prune(whole, max_active_dims=self.options.max_active_dims)
        return kept, origins.take(places_in(whole, kept))

    def spans(self, text: str) -> list[Span]:
        """Return the word pieces of `text`."""
        return self.tokenizer.spans(text)

    def _encode(
        self, texts: Sequence[str], prompt: str, max_length: int, batch_size: int
    ) -> SparseMatrix:
        self._check_batch_size(batch_size)
        filled = _filled(texts)
        ids = (
            self.tokenizer.encode(
                [prompt + texts[at] for at in filled], max_length=max_length, special_tokens=True
            )
            if filled
            else []
        )
        order = _longest_first(ids)
        matrices = []
        with self._running():
            for start in range(0, len(order), batch_size):
                batch = [ids[at] for at in order[start : start + batch_size]]
                matrices.append(self._run_batch(*self._pad(batch)))
        stacked, source = self._stack(matrices, np.array(filled, np.int64)[order], len(texts))
        return prune(stacked.take(source), max_active_dims=self.options.max_active_dims)

    @staticmethod
    def _check_batch_size(batch_size: int) -> None:
        if batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1, got {batch_size}.")

    def _running(self) -> AbstractContextManager[Any]:
        """Return what surrounds the batches of one call."""
        return nullcontext()

    @abstractmethod
    def _run_batch(self, input_ids: Int64Array, mask: Int64Array) -> SparseMatrix:
        """Return one row a text of a padded batch; both arrays have shape (batch, length)."""

    @abstractmethod
    def _run_traced(
        self, input_ids: Int64Array, mask: Int64Array
    ) -> tuple[SparseMatrix, Int64Array]:
        """Return `_run_batch`'s rows, and for each entry the position that gave its weight."""

    def _pad(self, batch: list[Int32Array]) -> tuple[Int64Array, Int64Array]:
        lengths = np.array([[len(ids)] for ids in batch])
        longest = int(lengths.max())
        input_ids = np.full((len(batch), longest), self.tokenizer.pad_id, dtype=np.int64)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
        return input_ids, (np.arange(longest) < lengths).astype(np.int64)

    def _stack(
        self, matrices: list[SparseMatrix], places: Int64Array, n_texts: int
    ) -> tuple[SparseMatrix, Int64Array]:
        """Return the rows of all batches, and which of them is that of each text."""
        size = len(self.vocabulary)
        # One empty row at the end stands for every empty text.
        empty = SparseMatrix(
            np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), (1, size)
        )
        stacked = vstack([*matrices, empty], size)
        source = np.full(n_texts, stacked.n_rows - 1, dtype=np.int64)
        source[places] = np.arange(len(places))
        return stacked, source


def _filled(texts: Sequence[str]) -> list[int]:
    # A text without any character would get the vector of its special tokens; it has none.
    return [at for at, text in enumerate(texts) if text.strip()]


def _longest_first(ids: list[Int32Array]) -> Int64Array:
    return np.argsort([-len(i) for i in ids], kind="stable").astype(np.int64)


def _pieces(
    matrix: SparseMatrix, positions: Int64Array, offsets: Sequence[Int32Array]
) -> Int32Array:
    """Return start and end of the token behind each entry of a batch, shape (nnz, 2)."""
    lengths = [len(o) for o in offsets]
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    found: Int32Array = np.concatenate(offsets)[
        np.repeat(begins, np.diff(matrix.indptr)) + positions
    ]
    return found
