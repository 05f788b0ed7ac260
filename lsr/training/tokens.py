"""From rows of the token tables to padded batches, without a Python loop.

The flat arrays live on the training device; a batch is a gather. Padding a batch in Python left
the accelerator idle half the time in a trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.training.pair_table import TokenTable

__all__ = ["DeviceTokens", "TokenBatch", "length_groups"]

# Lengths are rounded up to a multiple: fewer distinct shapes for the allocator and the kernels.
_MULTIPLE = 8


@dataclass(frozen=True)
class TokenBatch:
    """Padded token ids.

    Attributes
    ----------
    ids : Tensor, int64, shape (batch, length)
        With the special tokens in place.
    mask : Tensor, int64, shape (batch, length)
        1 where there is a token.
    """

    ids: Tensor
    mask: Tensor


class DeviceTokens:
    """A token table on a device.

    Parameters
    ----------
    table : TokenTable
        On disk or in memory.
    special : dict of int
        ``cls``, ``sep``, ``pad``.
    device : torch.device
        Where the batches are needed.
    mapping : int64 array, shape (vocabulary_size,), optional
        Another model's id of each token, applied once.
    """

    def __init__(
        self,
        table: TokenTable,
        special: dict[str, int],
        device: torch.device,
        *,
        mapping: NDArray[np.int64] | None = None,
    ) -> None:
        ids = np.asarray(table.ids)
        ids = mapping[ids].astype(np.int32) if mapping is not None else ids.astype(np.int32)
        self._ids = torch.from_numpy(ids).to(device)
        self._starts = table.offsets[:-1].astype(np.int64)
        self.lengths: NDArray[np.int64] = table.lengths()
        self._special = special
        self.device = device

    def batch(self, rows: NDArray[Any], max_tokens: int) -> TokenBatch:
        """Return the texts `rows`, cut to `max_tokens` with their special tokens.

        Raises
        ------
        IndexError
            If a row does not exist.
        """
        lengths = np.minimum(self.lengths[rows], max_tokens - 2)
        width = int(lengths.max(initial=0)) + 2
        width = min(-(-width // _MULTIPLE) * _MULTIPLE, max_tokens)
        both = np.stack([self._starts[rows], lengths])
        starts, n = torch.from_numpy(both).to(self.device, non_blocking=True)
        at = torch.arange(width, device=self.device)[None, :] - 1
        inside = (at >= 0) & (at < n[:, None])
        source = (starts[:, None] + at).clamp_(0, max(len(self._ids) - 1, 0))
        special = self._special
        ids = torch.where(inside, self._ids[source].long(), special["pad"])
        ids[:, 0] = special["cls"]
        ids.scatter_(1, (n + 1)[:, None], special["sep"])
        return TokenBatch(ids, (at <= n[:, None]).long())


def length_groups(lengths: NDArray[np.int64], size: int) -> Sequence[NDArray[np.int64]]:
    """Return positions sorted by length and cut into groups of at most `size`, of equal size."""
    order = np.argsort(lengths, kind="stable")
    return np.array_split(order, max(1, -(-len(order) // size)))
