"""Encoders that run a torch module of `lsr.encoders.torch_sides`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from lsr.core.sparse import Int64Array, SparseMatrix
from lsr.encoders.batched import BatchedEncoder, TextOptions
from lsr.encoders.precision import choose_device, choose_dtype
from lsr.encoders.tables import fingerprint
from lsr.encoders.tokenization import TextTokenizer
from lsr.encoders.torch_sides import SparseBatch

__all__ = ["TextOptions", "TorchEncoder"]


class TorchEncoder(BatchedEncoder):
    """An encoder whose two sides run one torch module.

    Parameters
    ----------
    side : torch module
        One of `lsr.encoders.torch_sides`; moved to the device and put into evaluation mode.
    tokenizer, name, options
        As for `BatchedEncoder`.
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
        super().__init__(tokenizer, name=name, options=options)
        self.device = choose_device(device)
        self.dtype = choose_dtype(self.device, dtype)
        self.module = side.to(self.device).eval()

    @property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, options and number format."""
        arrays = {
            key: value.detach().cpu().contiguous().view(torch.uint8).numpy()
            for key, value in self.module.state_dict().items()
            if value.dim() > 0
        }
        config = {
            **self.options.as_dict(),
            "dtype": str(self.dtype),
            "module": repr(self.module),
            "tokenizer": self.tokenizer.definition,
        }
        return fingerprint(config, arrays, self.vocabulary)

    def _running(self) -> AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def _run_batch(self, input_ids: Int64Array, mask: Int64Array) -> SparseMatrix:
        return self._matrix(self._run(input_ids, mask, positions=False), len(input_ids))

    def _run_traced(
        self, input_ids: Int64Array, mask: Int64Array
    ) -> tuple[SparseMatrix, Int64Array]:
        found = self._run(input_ids, mask, positions=True)
        assert found.positions is not None, "they were asked for"
        return self._matrix(found, len(input_ids)), found.positions.cpu().numpy()

    def _run(self, input_ids: Int64Array, mask: Int64Array, *, positions: bool) -> SparseBatch:
        # Without padding no mask is passed, which lets the attention take its faster path.
        padded = None if mask.all() else torch.from_numpy(mask).to(self.device)
        ids = torch.from_numpy(input_ids).to(self.device)
        found: SparseBatch = self.module.sparse(ids, padded, dtype=self.dtype, positions=positions)
        return found

    def _matrix(self, found: SparseBatch, n_rows: int) -> SparseMatrix:
        counts = np.bincount(found.rows.cpu().numpy(), minlength=n_rows)
        indptr = np.zeros(n_rows + 1, dtype=np.int64)
        np.cumsum(counts, out=indptr[1:])
        return SparseMatrix(
            indptr,
            found.terms.to(torch.int32).cpu().numpy(),
            found.weights.float().cpu().numpy(),
            (n_rows, len(self.vocabulary)),
        )
