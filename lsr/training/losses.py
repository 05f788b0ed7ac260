"""Ranking losses over a batch's score matrix.

Every loss sees the same `Scores`: the student's score of every query of the batch with every
document of the batch, the teacher's scores where there is a teacher, and which documents are a
query's own. N queries, G documents a query, D = N·G documents; the own documents of query i are
the columns i·G … i·G + G − 1, its positive the first of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lsr.training.config import InfoNCEConfig, KLConfig, LossConfig, MarginMSEConfig

__all__ = ["InfoNCE", "KLDivergence", "Loss", "MarginMSE", "Mixture", "Scores", "build_losses"]


@dataclass(frozen=True)
class Scores:
    """What the losses see of a batch.

    Attributes
    ----------
    student : Tensor, float32, shape (N, D)
        q · d of every query and document of the whole (gathered) batch.
    group : int
        G, documents a query.
    teacher : Tensor, float32, shape (N, D) or (N, G), optional
        Mixed teacher scores of the whole batch, or of the own documents only.
    positives : Tensor, bool, shape (N, D), optional
        Documents known to answer the query, its own positive included: never negatives.
    """

    student: Tensor
    group: int
    teacher: Tensor | None = None
    positives: Tensor | None = None

    def own(self, scores: Tensor) -> Tensor:
        """Return the columns of each query's own documents, shape (N, G)."""
        if scores.shape[1] == self.group and len(scores) > 1:
            return scores
        n = len(scores)
        at = torch.arange(n, device=scores.device)[:, None] * self.group
        return scores.gather(1, at + torch.arange(self.group, device=scores.device))

    def pair(self, candidates: str) -> tuple[Tensor, Tensor]:
        """Return student and teacher scores over the ``own`` documents or the ``batch``."""
        if self.teacher is None:
            raise ValueError("this loss needs teacher scores")
        if candidates == "own":
            return self.own(self.student), self.own(self.teacher)
        return self.student, self.teacher


class Loss(ABC):
    """A scalar from `Scores`; `name` is its key in the log."""

    name: str

    @abstractmethod
    def __call__(self, scores: Scores) -> Tensor:
        """Return the loss."""


@dataclass(frozen=True)
class InfoNCE(Loss):
    """Contrastive loss: −mean_i log( exp(s_i⁺/T) / Σ_{j ∈ C_i} exp(s_ij/T) ).

    The candidates C_i, by `negatives`:

    - ``all``: every document of the batch (sentence-transformers'
      SparseMultipleNegativesRankingLoss; there T = 1/scale);
    - ``own-and-negatives``: the own documents and the *negatives* of the others, not their
      positives;
    - ``positives-and-own``: the positives of the batch and the first own negative
      (SPLADE's training code).

    Documents known to answer the query are no candidates, except its own positive.

    References
    ----------
    van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, 2018,
    equation 4. Formal et al.: SPLADE, SIGIR 2021, equation 5.
    """

    temperature: float = 1.0
    negatives: str = "all"
    name: str = "info_nce"

    def candidates(self, n: int, group: int, device: torch.device) -> Tensor:
        """Return which documents stand in the denominator, bool, shape (N, D)."""
        column = torch.arange(n * group, device=device)[None, :]
        row = torch.arange(n, device=device)[:, None]
        own, first = column // group == row, column % group == 0
        if self.negatives == "all":
            return torch.ones(n, n * group, dtype=torch.bool, device=device)
        if self.negatives == "own-and-negatives":
            return own | ~first
        return first | (own & (column % group == 1))

    def __call__(self, scores: Scores) -> Tensor:
        """Return the mean over the queries."""
        n = len(scores.student)
        device = scores.student.device
        target = torch.arange(n, device=device) * scores.group
        keep = self.candidates(n, scores.group, device)
        if scores.positives is not None:
            keep = keep & ~scores.positives
        keep = keep.scatter(1, target[:, None], True)
        logits = (scores.student / self.temperature).masked_fill(~keep, float("-inf"))
        return F.cross_entropy(logits, target)


@dataclass(frozen=True)
class MarginMSE(Loss):
    """mean[ ((s⁺ − s⁻) − (t⁺ − t⁻))² ] over positive and negative of each query.

    ``pairs = "positive"``: the own positive against every other candidate (N·(G−1) terms of
    ``own``; sentence-transformers' SparseMarginMSELoss agrees with it). ``pairs = "all"``: every
    two candidates, i < j.

    References
    ----------
    Hofstätter et al.: Improving Efficient Neural Ranking Models with Cross-Architecture
    Knowledge Distillation, 2020, equation 8.
    """

    pairs: str = "positive"
    candidates: str = "own"
    name: str = "margin_mse"

    def __call__(self, scores: Scores) -> Tensor:
        """Return the mean over all pairs."""
        student, teacher = scores.pair(self.candidates)
        # On the own list the positive stands first; on the batch list at column i·G.
        n, width = student.shape
        if self.pairs == "all":
            i, j = torch.triu_indices(width, width, offset=1, device=student.device)
            return F.mse_loss(student[:, i] - student[:, j], teacher[:, i] - teacher[:, j])
        step = 0 if self.candidates == "own" else scores.group
        first = torch.arange(n, device=student.device)[:, None] * step
        difference = (student.gather(1, first) - student) - (teacher.gather(1, first) - teacher)
        # The positive against itself is 0 and is not counted.
        return difference.square().sum() / (n * (width - 1))


@dataclass(frozen=True)
class KLDivergence(Loss):
    """T² · mean_i Σ_j p_ij (log p_ij − log q_ij), p = softmax(t/T), q = softmax(s/T).

    T² keeps the gradient's size when T changes; at T = 1, as in all reference implementations,
    it equals sentence-transformers' SparseDistillKLDivLoss on the own list.

    References
    ----------
    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015, section 2.
    """

    temperature: float = 1.0
    candidates: str = "batch"
    name: str = "kl"

    def __call__(self, scores: Scores) -> Tensor:
        """Return the mean over the queries."""
        student, teacher = scores.pair(self.candidates)
        t = self.temperature
        return (
            t
            * t
            * F.kl_div(
                F.log_softmax(student / t, dim=1),
                F.log_softmax(teacher / t, dim=1),
                reduction="batchmean",
                log_target=True,
            )
        )


@dataclass(frozen=True)
class Mixture:
    """Σ_k weight_k · loss_k, as SPLADE-v3 mixes KL (1) and margin-MSE (.05)."""

    parts: Sequence[tuple[float, Loss]]

    def __call__(self, scores: Scores) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum, and each unweighted part by name, detached, for the log."""
        total = scores.student.new_zeros(())
        seen: dict[str, Tensor] = {}
        for weight, loss in self.parts:
            value = loss(scores)
            total = total + weight * value
            seen[loss.name] = value.detach()
        return total, seen


def build_losses(configs: Sequence[LossConfig]) -> Mixture:
    """Return the mixture a recipe asks for."""
    parts: list[tuple[float, Loss]] = []
    for config in configs:
        loss: Loss
        match config:
            case InfoNCEConfig():
                loss = InfoNCE(config.temperature, config.negatives)
            case MarginMSEConfig():
                loss = MarginMSE(config.pairs, config.candidates)
            case KLConfig():
                loss = KLDivergence(config.temperature, config.candidates)
        parts.append((config.weight, loss))
    return Mixture(parts)
