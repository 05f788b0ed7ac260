"""What all torch encoders share: texts to batches, batches to rows, rows back in order.

Texts are tokenised once, sorted by length (longest first: what does not fit fails at once), run
in batches of almost equal length, and put back in their order. Where a batch has no padding no
mask is passed, which lets the attention take its faster path.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lsr.core.errors import ArgumentError
from lsr.core.sparse import Int32Array, Int64Array, SparseMatrix, vstack
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import IdfConvention, Span
from lsr.encoders.precision import choose_device, choose_dtype
from lsr.encoders.pruning import prune
from lsr.encoders.tables import fingerprint
from lsr.encoders.tokenization import TextTokenizer

__all__ = ["TextOptions", "TorchEncoder"]


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

    def with_lengths(self, query: int | None, document: int | None) -> TextOptions:
        """Return these options with the maximum lengths that are not None replaced."""
        return replace(
            self,
            query_max_length=query or self.query_max_length,
            document_max_length=document or self.document_max_length,
        )


class TorchEncoder:
    """An encoder whose two sides run one torch module.

    Parameters
    ----------
    side : torch module
        One of `lsr.encoders.torch_sides`; moved to the device and put into evaluation mode.
    tokenizer : TextTokenizer
        With the module's vocabulary size.
    name : str
        How messages call it.
    options : TextOptions
        Lengths, prompts, pruning.
    device, dtype : str, optional
        As in `load_encoder`.
    """

    def __init__(
        self,
        side: Any,
        tokenizer: TextTokenizer,
        *,
        name: str,
        options: TextOptions,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_dtype(self.device, dtype)
        self.module = side.to(self.device).eval()
        self.tokenizer = tokenizer
        self.options = options
        self._name = name
        self._fingerprint = ""

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

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer and options; computed once."""
        if not self._fingerprint:
            arrays = {
                key: value.detach().cpu().contiguous().view(torch.uint8).numpy()
                for key, value in self.module.state_dict().items()
                if value.dim() > 0
            }
            config = {
                **{field: getattr(self.options, field) for field in self.options.__slots__},
                "dtype": str(self.dtype),
                "module": repr(self.module),
                "tokenizer": self.tokenizer.definition,
            }
            self._fingerprint = fingerprint(config, arrays, self.vocabulary)
        return self._fingerprint

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
        with self._autocast():
            for start in range(0, len(order), batch_size):
                batch = [ids[at] for at in order[start : start + batch_size]]
                matrices.append(self._rows(batch))
        return self._assemble(matrices, np.array(filled, dtype=np.int64)[order], len(texts))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def _rows(self, batch: list[Int32Array]) -> SparseMatrix:
        longest = max(len(ids) for ids in batch)
        input_ids = np.full((len(batch), longest), self.tokenizer.pad_id, dtype=np.int64)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
        mask = None
        if any(len(ids) < longest for ids in batch):
            lengths = np.array([[len(ids)] for ids in batch])
            mask = torch.from_numpy((np.arange(longest) < lengths).astype(np.int64))
            mask = mask.to(self.device)
        found = self.module.sparse(
            torch.from_numpy(input_ids).to(self.device), mask, dtype=self.dtype
        )
        counts = np.bincount(found.rows.cpu().numpy(), minlength=len(batch))
        indptr = np.zeros(len(batch) + 1, dtype=np.int64)
        np.cumsum(counts, out=indptr[1:])
        return SparseMatrix(
            indptr,
            found.terms.to(torch.int32).cpu().numpy(),
            found.weights.float().cpu().numpy(),
            (len(batch), len(self.vocabulary)),
        )

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
