"""The torch modules of the encoders: token ids in, one weight a vocabulary term out.

Inference and training share these classes. `forward` is the plain definition, differentiable and
dense; `sparse` is what encoding runs: no gradients, never a batch × length × vocabulary tensor,
only what is not zero leaves it. Training builds its own fused forward on `MaskedLMSide.hidden`
and `MaskedLMSide.decoder`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lsr.core.errors import ArgumentError, ModelFormatError
from lsr.encoders.inference_free import TermFrequency

__all__ = ["LookupSide", "MaskedLMSide", "Pooling", "SparseBatch", "TermWeightSide", "saturate"]

Pooling = Literal["max", "sum"]

_CPU_TOKENS = 256
_CPU_TERMS = 2048
_CUDA_TOKENS = 16_384
"""Tokens (and terms) whose logits stand in memory at once: 2 MB on a CPU, 1 GB on a GPU."""


class SparseBatch(NamedTuple):
    """The weights of one batch that are not zero, rows ascending, terms ascending in a row.

    Attributes
    ----------
    rows, terms : int64, shape (nnz,)
        Row in the batch, vocabulary position.
    weights : float32, shape (nnz,)
        Greater than 0.
    positions : int64, shape (nnz,), optional
        The position of the text that gave the weight: the first of the largest logit. Where
        weights are summed over positions, the one with the largest share.
    """

    rows: Tensor
    terms: Tensor
    weights: Tensor
    positions: Tensor | None = None


class _Block(NamedTuple):
    """Logits of some rows, positions and terms, shape (rows, positions, terms)."""

    logits: Tensor
    rows: slice
    positions: slice
    terms: slice

    @property
    def first(self) -> bool:
        return bool(self.positions.start == 0)


def saturate(weights: Tensor, times: int) -> Tensor:
    """Return log(1 + x), applied `times` times; `weights` must not be negative."""
    for _ in range(times):
        weights = torch.log1p(weights)
    return weights


def _nonzero(pooled: Tensor, saturation: int) -> SparseBatch:
    # flatnonzero of a contiguous array is several times faster than torch's two-column nonzero.
    flat = pooled.reshape(-1)
    at = torch.nonzero(flat > 0).reshape(-1)
    terms = pooled.shape[1]
    return SparseBatch(
        torch.div(at, terms, rounding_mode="floor"), at % terms, saturate(flat[at], saturation)
    )


class MaskedLMSide(nn.Module):
    """SPLADE: ``w_j = f(max_i z_ij)`` over the masked-LM logits z of the positions i.

    Parameters
    ----------
    model : transformers masked-LM
        Its output projection is taken off and kept as `decoder`, so that logits are made here.
    pooling : {"max", "sum"}
        ``"max"`` is SPLADE-max (v2 and later), ``"sum"`` sums saturated weights (v1).
    saturation : {1, 2}
        1: ``f(z) = log(1 + relu(z))``; 2: ``log(1 + log(1 + relu(z)))``, sparser and flatter.

    Raises
    ------
    ModelFormatError
        If the model has no linear output projection.

    References
    ----------
    Formal et al.: SPLADE, 2021 (sum); SPLADE v2, 2021 (max). Shen et al.: Exploring ℓ0
    Sparsification for Inference-free Sparse Retrievers, 2025 (twice saturated).
    """

    def __init__(self, model: Any, *, pooling: Pooling = "max", saturation: int = 1) -> None:
        super().__init__()
        if pooling not in ("max", "sum") or saturation not in (1, 2):
            raise ArgumentError(
                f"pooling must be 'max' or 'sum' and saturation 1 or 2, got {pooling!r} and "
                f"{saturation!r}."
            )
        self.model = model
        self.pooling: Pooling = pooling
        self.saturation = saturation
        self._place = _find_decoder(model)
        self.decoder: nn.Linear = _take_off(model, self._place)
        self._cast: tuple[Any, Tensor] | None = None

    @property
    def vocabulary_size(self) -> int:
        """Number of output terms."""
        return int(self.decoder.out_features)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return what the output projection is applied to, shape (batch, length, width).

        `attention_mask` may be None where nothing is padded.
        """
        output: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return output

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the dense weights, shape (batch, n_terms): the plain definition."""
        logits = self.decoder(self.hidden(input_ids, attention_mask)).float()
        keep = attention_mask.bool().unsqueeze(-1)
        if self.pooling == "max":
            pooled = logits.masked_fill(~keep, float("-inf")).amax(dim=1)
            return saturate(torch.relu(pooled), self.saturation)
        weights = saturate(torch.relu(logits), self.saturation)
        return (weights * keep).sum(dim=1)

    @torch.inference_mode()
    def sparse(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        *,
        dtype: torch.dtype,
        positions: bool = False,
    ) -> SparseBatch:
        """Return the weights that are not zero, logits made in `dtype` in blocks of tokens.

        With `positions` also where each comes from.
        """
        hidden = self.hidden(input_ids, attention_mask).to(dtype)
        if self.pooling == "max":
            # ReLU, the bias and the logarithms are monotone: they come after the maximum.
            found = _nonzero(self._max_logits(hidden, attention_mask), self.saturation)
        else:
            found = _nonzero(self._summed(hidden, attention_mask), 0)
        if positions:
            found = found._replace(positions=self._positions(hidden, attention_mask, found))
        return found

    def _positions(self, hidden: Tensor, mask: Tensor | None, found: SparseBatch) -> Tensor:
        """Return the position of the largest logit of each weight that was found.

        The logits of these terms are made once more: a hundredth of them, and the pooling need
        not carry an index along.
        """
        weight = self._projection(hidden.dtype)
        best = torch.empty_like(found.terms)
        ends = torch.bincount(found.rows, minlength=len(hidden)).cumsum(0).tolist()
        for row, (low, high) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            logits = hidden[row] @ weight[found.terms[low:high]].T
            if mask is not None:
                logits.masked_fill_(~mask[row].bool().unsqueeze(-1), float("-inf"))
            best[low:high] = logits.argmax(dim=0)
        return best

    def _max_logits(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            # Padding becomes a copy of the first position: then the maximum needs no mask.
            hidden = torch.where(mask.bool().unsqueeze(-1), hidden, hidden[:, :1])
        pooled = hidden.new_empty(len(hidden), self.vocabulary_size)
        for block in self._logits(hidden):
            target = pooled[block.rows, block.terms]
            if block.first:
                torch.amax(block.logits, dim=1, out=target)
            else:
                torch.maximum(target, block.logits.amax(dim=1), out=target)
        pooled = pooled.float()
        return pooled if self.decoder.bias is None else pooled.add_(self.decoder.bias)

    def _summed(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        pooled = torch.zeros(len(hidden), self.vocabulary_size, device=hidden.device)
        for block in self._logits(hidden):
            logits = block.logits.float()
            if self.decoder.bias is not None:
                logits.add_(self.decoder.bias[block.terms])
            logits.relu_()
            for _ in range(self.saturation):
                logits.log1p_()
            if mask is not None:
                logits.mul_(mask[block.rows, block.positions].unsqueeze(-1))
            pooled[block.rows, block.terms] += logits.sum(dim=1)
        return pooled

    def _logits(self, hidden: Tensor) -> Iterator[_Block]:
        """Yield the logits, without bias, block by block; each is overwritten by the next.

        On a CPU a block is 256 tokens × 2,048 terms: it is reduced while it is in the cache,
        which takes 0.6 of the time that whole-vocabulary blocks take (measured, Zen 3, f32).
        """
        n_rows, length, width = hidden.shape
        weight = self._projection(hidden.dtype)
        on_cpu = hidden.device.type == "cpu"
        n_tokens, n_terms = (_CPU_TOKENS, _CPU_TERMS) if on_cpu else (_CUDA_TOKENS, len(weight))
        step = max(1, n_tokens // max(1, length))
        buffer = hidden.new_empty(min(n_rows * length, n_tokens) * min(n_terms, len(weight)))
        for term in range(0, len(weight), n_terms):
            part = weight[term : term + n_terms].T
            for row in range(0, n_rows, step):
                for start in range(0, length, n_tokens):
                    piece = hidden[row : row + step, start : start + n_tokens]
                    shape = (piece.shape[0] * piece.shape[1], part.shape[1])
                    out = buffer[: shape[0] * shape[1]].view(shape)
                    torch.mm(piece.reshape(-1, width), part, out=out)
                    yield _Block(
                        out.view(piece.shape[0], piece.shape[1], -1),
                        slice(row, row + step),
                        slice(start, start + n_tokens),
                        slice(term, term + n_terms),
                    )

    def _projection(self, dtype: torch.dtype) -> Tensor:
        # The cast of a 30,522 × 384 matrix costs as much as a small batch: it is kept.
        weight = self.decoder.weight.detach()
        if weight.dtype == dtype:
            return weight
        key = (dtype, weight.data_ptr(), weight._version, weight.device)
        if self._cast is None or self._cast[0] != key:
            self._cast = (key, weight.to(dtype))
        return self._cast[1]

    @contextmanager
    def whole_model(self) -> Iterator[Any]:
        """Give the model with its output projection put back, to save it."""
        parent, name = self._place
        setattr(self.model.get_submodule(parent), name, self.decoder)
        try:
            yield self.model
        finally:
            setattr(self.model.get_submodule(parent), name, nn.Identity())


def _find_decoder(model: Any) -> tuple[str, str]:
    decoder = model.get_output_embeddings()
    for name, module in model.named_modules():
        if module is decoder and isinstance(module, nn.Linear):
            parent, _, attribute = name.rpartition(".")
            return parent, attribute
    raise ModelFormatError(
        f"{type(model).__name__} has no linear output projection over the vocabulary.",
        hint="Pass a masked-LM such as BERT, DistilBERT, RoBERTa, MPNet or ModernBERT.",
    )


def _take_off(model: Any, place: tuple[str, str]) -> nn.Linear:
    parent = model.get_submodule(place[0])
    decoder: nn.Linear = getattr(parent, place[1])
    setattr(parent, place[1], nn.Identity())
    return decoder


class TermWeightSide(nn.Module):
    """UniCOIL and DeepImpact: one weight for each token of the text, the maximum over repeats.

    ``w_j = max over the positions i of token j of f(head(h_i))``. There is no expansion but what
    stands in the text.

    Parameters
    ----------
    model : transformers model
        Gives hidden states (no language-model head).
    vocabulary_size : int
        Number of output terms.
    special_terms : int64 tensor
        Tokens that never get a weight.
    head_width : int, optional
        None: one linear map (uniCOIL); else a hidden layer of that width (DeepImpact).
    saturation : {0, 1, 2}
        How often log(1 + x) is applied after the ReLU.

    References
    ----------
    Lin, Ma: A Few Brief Notes on DeepImpact, COIL, and a Conceptual Framework, 2021.
    Mallia et al.: Learning Passage Impacts for Inverted Indexes, 2021.
    """

    special: Tensor

    def __init__(
        self,
        model: Any,
        *,
        vocabulary_size: int,
        special_terms: Tensor,
        head_width: int | None = None,
        saturation: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.vocabulary_size = vocabulary_size
        self.saturation = saturation
        self.head_width = head_width
        width = int(model.config.hidden_size)
        if head_width is None:
            self.head: nn.Module = nn.Linear(width, 1)
        else:
            self.head = nn.Sequential(
                nn.Linear(width, head_width), nn.ReLU(), nn.Linear(head_width, 1)
            )
        mask = torch.zeros(vocabulary_size, dtype=torch.bool)
        mask[special_terms] = True
        self.register_buffer("special", mask, persistent=False)

    def token_weights(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return one weight a position, shape (batch, length); 0 for padding and special tokens."""
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        weights = torch.relu(self.head(output.last_hidden_state).squeeze(-1).float())
        drop = self.special[input_ids]
        if attention_mask is not None:
            drop = drop | ~attention_mask.bool()
        return saturate(weights.masked_fill(drop, 0), self.saturation)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the dense weights, shape (batch, n_terms)."""
        weights = self.token_weights(input_ids, attention_mask)
        dense = weights.new_zeros(len(input_ids), self.vocabulary_size)
        return dense.scatter_reduce(1, input_ids, weights, "amax", include_self=True)

    @torch.inference_mode()
    def sparse(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        *,
        dtype: torch.dtype,
        positions: bool = False,
    ) -> SparseBatch:
        """Return the weights that are not zero; nothing as wide as the vocabulary is made.

        The head is too small for its `dtype` to matter. With `positions` also where each comes
        from.
        """
        weights = self.token_weights(input_ids, attention_mask)
        rows = torch.arange(len(input_ids), device=input_ids.device).unsqueeze(1)
        keys = (rows * self.vocabulary_size + input_ids).reshape(-1)
        unique, place = torch.unique(keys, return_inverse=True)
        best = torch.zeros(len(unique), device=keys.device)
        best.scatter_reduce_(0, place, weights.reshape(-1), "amax")
        keep = best > 0
        at = unique[keep]
        found = SparseBatch(
            torch.div(at, self.vocabulary_size, rounding_mode="floor"),
            at % self.vocabulary_size,
            best[keep],
        )
        if positions:
            length = input_ids.shape[1]
            place_in_text = torch.arange(length, device=keys.device).repeat(len(input_ids))
            place_in_text[weights.reshape(-1) < best[place]] = length
            first = torch.full_like(unique, length)
            first.scatter_reduce_(0, place, place_in_text, "amin")
            found = found._replace(positions=first[keep])
        return found


class LookupSide(nn.Module):
    """A weight a term, given to the terms that stand in the text; trainable.

    Parameters
    ----------
    weight : float32 tensor, shape (n_terms,)
        Idf, ones, or learned.
    special_terms : int64 tensor
        Terms that never get a weight.
    trainable : bool
        Let the optimiser change the weights.
    term_frequency : {"presence", "log", "count"}
        What a repeated token counts: 1, 1 + ln(tf), tf.
    """

    special: Tensor

    def __init__(
        self,
        weight: Tensor,
        *,
        special_terms: Tensor,
        trainable: bool,
        term_frequency: TermFrequency = "presence",
    ) -> None:
        super().__init__()
        self.term_frequency: TermFrequency = term_frequency
        self.weight = nn.Parameter(weight.clone().float(), requires_grad=trainable)
        mask = torch.zeros(len(weight), dtype=torch.bool)
        mask[special_terms] = True
        self.register_buffer("special", mask, persistent=False)

    @property
    def vocabulary_size(self) -> int:
        """Number of terms."""
        return len(self.weight)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the dense weights, shape (batch, n_terms)."""
        tf = self.weight.new_zeros(len(input_ids), len(self.weight))
        tf = tf.scatter_add(1, input_ids, attention_mask.to(tf.dtype))
        if self.term_frequency == "presence":
            tf = tf.clamp(max=1)
        elif self.term_frequency == "log":
            tf = torch.where(tf > 1, 1 + torch.log(tf.clamp(min=1)), tf)
        return tf * torch.relu(self.weight.masked_fill(self.special, 0))
