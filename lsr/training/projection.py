"""Hidden states to one maximum a term, without the vocabulary logits ever standing in memory.

For max pooling, w_j = f(max_i z_ij + b_j) with z = H Wᵀ: only the position that gave the maximum
gets a gradient, and after a relu only where the maximum is positive. So the forward pass
reduces the logits document chunk by document chunk, keeps the maxima and their positions
(batch × vocabulary, where the logits were batch × length × vocabulary), and the backward pass
gathers the few active (document, term) entries instead of building the gradient of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["max_project", "project_dtype"]

# Active entries whose hidden states and rows of W are gathered at a time in the backward pass.
_ENTRIES = 1 << 17


def project_dtype(device: torch.device) -> torch.dtype:
    """Return the type the logits are computed in: autocast's, else float32."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def max_project(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    mask: Tensor,
    *,
    max_bytes: int = 1 << 28,
) -> Tensor:
    """Return relu(max over unmasked positions of ``hidden @ weight.T`` + bias).

    Parameters
    ----------
    hidden : Tensor, shape (batch, length, width)
        States behind the head's transform.
    weight : Tensor, shape (vocabulary, width)
        The decoder, often tied to the embeddings.
    bias : Tensor, shape (vocabulary,)
        Constant over positions, so it is added behind the maximum, in float32.
    mask : Tensor, shape (batch, length)
        1 where a position counts; a row of zeros gives a zero vector.
    max_bytes : int
        Memory of the logits at a time.

    Returns
    -------
    Tensor, float32, shape (batch, vocabulary)
        Not saturated yet: log(1 + ·) is monotone and follows elementwise.

    Notes
    -----
    Equal maxima at two positions: the gradient goes to one of them, where ``amax`` would share
    it. In bf16 the maximum carries bf16's rounding, as the logits themselves would.
    """
    apply: Callable[..., Tensor] = _MaxProject.apply
    return apply(hidden, weight, bias, mask, max_bytes)


class _MaxProject(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        mask: Tensor,
        max_bytes: int,
    ) -> Tensor:
        dtype = project_dtype(hidden.device)
        batch, length, _ = hidden.shape
        keep = mask.bool()
        # Masked positions repeat an unmasked one, which no maximum notices: cheaper than a pass
        # of -inf over the logits.
        first = keep.to(torch.int8).argmax(dim=1)
        at = torch.arange(length, device=hidden.device).expand(batch, length)
        at = torch.where(keep, at, first[:, None])
        rows = torch.arange(batch, device=hidden.device)[:, None]
        states = hidden.detach().to(dtype)[rows, at]
        table = weight.detach().to(dtype)
        values, positions = _chunked(states, table, max_bytes)
        values = torch.relu_(values.add_(bias.detach().float()))
        values[~keep.any(dim=1)] = 0.0
        positions = torch.gather(at, 1, positions.long()).to(torch.int16)
        ctx.save_for_backward(hidden, weight, values, positions)
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, values, positions = ctx.saved_tensors
        batch, length, width = hidden.shape
        grad = torch.where(values > 0, grads[0].float(), 0.0)
        grad_bias = grad.sum(dim=0)
        entries = grad.nonzero()
        g = grad[entries[:, 0], entries[:, 1]]
        at = entries[:, 0] * length + positions[entries[:, 0], entries[:, 1]].long()
        term = entries[:, 1]
        flat = hidden.reshape(batch * length, width)
        grad_hidden = torch.zeros(batch * length, width, device=flat.device)
        grad_weight = torch.zeros(weight.shape, device=flat.device)
        for start in range(0, len(g), _ENTRIES):
            part = slice(start, start + _ENTRIES)
            scale = g[part, None]
            grad_hidden.index_add_(0, at[part], weight[term[part]].float() * scale)
            grad_weight.index_add_(0, term[part], flat[at[part]].float() * scale)
        return (
            grad_hidden.view_as(hidden).to(hidden.dtype),
            grad_weight.to(weight.dtype),
            grad_bias,
            None,
            None,
        )


def _chunked(states: Tensor, table: Tensor, max_bytes: int) -> tuple[Tensor, Tensor]:
    batch, length, _ = states.shape
    vocabulary = table.shape[0]
    values = torch.empty(batch, vocabulary, device=states.device)
    positions = torch.empty(batch, vocabulary, device=states.device, dtype=torch.int16)
    # Whole documents a chunk; where one document alone is too large, slices of the vocabulary.
    per_term = length * states.element_size()
    terms = max(1, min(vocabulary, max_bytes // per_term))
    documents = max(1, max_bytes // (per_term * vocabulary))
    for row in range(0, batch, documents):
        chunk = states[row : row + documents]
        for term in range(0, vocabulary, terms):
            logits = chunk @ table[term : term + terms].T
            best, where = logits.max(dim=1)
            values[row : row + documents, term : term + terms] = best
            positions[row : row + documents, term : term + terms] = where
    return values, positions
