"""Taxes on active terms, and the controller that sets how high they are.

All are functions of one matrix W of vectors, shape (documents, vocabulary), weights ≥ 0: the
*whole* batch, gathered over processes, positives and negatives alike, one mean over the rows.
So λ means the same whatever the batch, the group size and the number of processes. (Code bases
that sum over positive and negative groups need a λ smaller by their number.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from lsr.training.config import ControllerConfig, RegularizerConfig

__all__ = [
    "L1",
    "DFFlops",
    "Flops",
    "Regularizer",
    "SparsityController",
    "build_regularizer",
    "df_activation",
    "idf_term_weights",
    "quadratic_warmup",
]


class Regularizer(Protocol):
    """A scalar tax on a matrix of vectors."""

    name: str

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the unweighted tax of `vectors`, shape (documents, vocabulary)."""


def _above(vectors: Tensor, min_terms: int) -> Tensor:
    """Return `vectors` with the rows of at most `min_terms` active terms zeroed (ℓ0 mask).

    The rows stay in the mean's denominator: a document that leaves the tax lowers it.
    """
    if min_terms == 0:
        return vectors
    taxed = (vectors > 0).sum(dim=1, keepdim=True) > min_terms
    return vectors * taxed


@dataclass
class Flops:
    """FLOPS(W) = Σ_j a_j · (mean_b w_bj)²; a = 1 is the plain form.

    With the inference-free query q_j = idf_j, plain FLOPS on the document *is* the IDF-aware
    penalty of the released code: the ranking gradient of w_j carries idf_j, the tax does not, so
    low-idf terms lose. In u = idf · w the same tax reads Σ_j (mean u_j / idf_j)², which is this
    class on u with a_j = 1 / idf_j². The explicit form on w, a_j = 1 / idf_j² scaled to mean 1
    (`idf_term_weights`), taxes frequent terms further.

    ``min_terms``: the ℓ0 mask.

    References
    ----------
    Paria et al.: Minimizing FLOPs to Learn Efficient Sparse Representations, ICLR 2020, eq. 4.
    Geng et al.: Towards Competitive Search Relevance For Inference-Free Learned Sparse
    Retrievers, 2024, section 3. Shen et al.: Exploring ℓ0 Sparsification for Inference-free
    Sparse Retrievers, SIGIR 2025.
    """

    term_weights: Tensor | None = None
    min_terms: int = 0
    name: str = "flops"

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the tax."""
        squares = _above(vectors, self.min_terms).abs().mean(dim=0).square()
        if self.term_weights is not None:
            squares = squares * self.term_weights.to(squares.device)
        return squares.sum()


@dataclass
class L1:
    """mean_b Σ_j |w_bj|: the queries' tax of efficient SPLADE.

    References
    ----------
    Lassance, Clinchant: An Efficiency Study for SPLADE Models, SIGIR 2022, section 3.2.
    """

    min_terms: int = 0
    name: str = "l1"

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the tax."""
        return _above(vectors, self.min_terms).abs().sum(dim=1).mean()


@dataclass
class DFFlops:
    """FLOPS with a_j = act(DF_j / n): terms active in many documents are taxed, others hardly.

    The document frequency is estimated while training: an exponential mean of the share of the
    batch's documents in which a term is active, read anew every `every` steps, so that a's are
    constants between. The activation stands inside the square (a² multiplies the square).

    References
    ----------
    Porco et al.: An Alternative to FLOPS Regularization to Effectively Productionize
    SPLADE-Doc, SIGIR 2025, equations 4 and 5.
    """

    vocabulary_size: int
    every: int = 100
    min_terms: int = 0
    midpoint: float = 0.1
    steepness: float = 10.0
    decay: float = 0.99
    name: str = "df_flops"
    state: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.state = {
            "df": torch.zeros(self.vocabulary_size),
            "used": torch.zeros(self.vocabulary_size),
            "seen": torch.zeros((), dtype=torch.int64),
        }

    def observe(self, vectors: Tensor) -> None:
        """Count the active terms of a step's documents."""
        s = self.state
        share = (vectors.detach() > 0).float().mean(dim=0)
        s["df"] = s["df"].to(share.device) * self.decay + share * (1 - self.decay)
        if int(s["seen"]) % self.every == 0:
            # The mean of the first n steps holds only 1 − decayⁿ of the mass.
            mass = 1 - self.decay ** (int(s["seen"]) + 1)
            s["used"] = df_activation(s["df"] / mass, self.midpoint, self.steepness)
        s["seen"] += 1

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the tax with the last read document frequencies."""
        means = _above(vectors, self.min_terms).abs().mean(dim=0)
        return (self.state["used"].to(means.device) * means).square().sum()


def df_activation(share: Tensor, midpoint: float = 0.1, steepness: float = 10.0) -> Tensor:
    """Return 1 / (1 + (x^(log_a 2) − 1)^b) for shares x in [0, 1].

    At x = a the value is 1 / (1 + (2 − 1)^b) = .5; it rises from 0 at x = 0 to 1 at x = 1.
    """
    power = math.log(2) / math.log(midpoint)
    x = share.clamp(1e-9, 1.0)
    return 1 / (1 + (x**power - 1).clamp(min=0).pow(steepness))


def idf_term_weights(idf: Tensor, floor: float = 0.1) -> Tensor:
    """Return a_j = 1 / max(idf_j, floor)², scaled to mean 1."""
    weights = idf.clamp(min=floor).pow(-2)
    return weights / weights.mean()


def quadratic_warmup(step: int, warmup_steps: int) -> float:
    """Return min(1, (step / warmup_steps)²), SPLADE's schedule of λ."""
    if warmup_steps <= 0:
        return 1.0
    return min(1.0, (step / warmup_steps) ** 2)


def build_regularizer(
    config: RegularizerConfig, *, idf: Tensor, vocabulary_size: int
) -> Regularizer:
    """Return the regulariser a recipe asks for."""
    match config.kind:
        case "flops":
            return Flops(min_terms=config.min_terms)
        case "idf-flops":
            return Flops(idf_term_weights(idf), config.min_terms, name="idf_flops")
        case "df-flops":
            return DFFlops(vocabulary_size, config.df_every, config.min_terms)
        case "l1":
            return L1(min_terms=config.min_terms)


class SparsityController:
    """Steers λ so that documents have the wished number of active terms.

    The set point s(t) falls geometrically from the first measurement to the target within
    `ramp_steps`. With e = log(m / s), m an exponential mean of the measured terms, each step does

        log λ ← log λ + gain · (e + damping · (e − e_before))

    so log λ = gain · (Σ e + damping · e): a proportional-integral controller, clamped to
    [min_weight, max_weight]. Logs make one gain fit all scales: terms fall roughly as a power of
    λ, with a delay of some hundred steps, for which the defaults are damped.
    """

    def __init__(self, config: ControllerConfig, start_weight: float) -> None:
        self.config = config
        self.log_weight = math.log(start_weight)
        self.mean = 0.0
        self.first = 0.0
        self.error = 0.0
        self.step = 0

    @property
    def weight(self) -> float:
        """λ of the coming step."""
        return math.exp(self.log_weight)

    @property
    def set_point(self) -> float:
        """The wished terms a document at this step."""
        target = self.config.target_doc_terms
        if self.first <= target:
            return target
        share = min(1.0, self.step / self.config.ramp_steps)
        return float(self.first * (target / self.first) ** share)

    def observe(self, doc_terms: float) -> float:
        """Take a step's mean active terms a document; return the new λ."""
        terms = max(doc_terms, 1.0)
        if self.step == 0:
            self.mean = self.first = terms
        self.mean = 0.9 * self.mean + 0.1 * terms
        error = math.log(self.mean / self.set_point)
        change = error - self.error if self.step else 0.0
        self.error = error
        c = self.config
        # One document with no term, or a jump at the start, must not swing λ by decades.
        move = c.gain * (error + c.damping * change)
        self.log_weight += max(-0.2, min(0.2, move))
        low, high = math.log(c.min_weight), math.log(c.max_weight)
        self.log_weight = max(low, min(high, self.log_weight))
        self.step += 1
        return self.weight

    def state(self) -> dict[str, float]:
        """Return what `load_state` needs."""
        return {
            "log_weight": self.log_weight,
            "mean": self.mean,
            "first": self.first,
            "error": self.error,
            "step": float(self.step),
        }

    def load_state(self, state: dict[str, float]) -> None:
        """Go on where `state` was taken."""
        self.log_weight = state["log_weight"]
        self.mean, self.first, self.error = state["mean"], state["first"], state["error"]
        self.step = int(state["step"])
