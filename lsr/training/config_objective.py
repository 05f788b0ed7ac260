"""What training asks of a model: teachers, negatives, losses and the taxes on active terms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lsr.core.config import Config

__all__ = [
    "BM25Teacher",
    "ControllerConfig",
    "CrossEncoderTeacher",
    "DenseTeacher",
    "InfoNCEConfig",
    "KLConfig",
    "LossConfig",
    "MarginMSEConfig",
    "NegativesConfig",
    "RegularizerConfig",
    "ScoresTeacher",
    "SparseTeacher",
    "TeacherConfig",
]


class _Teacher(Config):
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    weight: float = Field(default=1.0, gt=0)


class DenseTeacher(_Teacher):
    """Cosine of pooled states of a sentence-transformers or plain encoder folder."""

    kind: Literal["dense"] = "dense"
    model: str
    pooling: Literal["mean", "cls"] = "mean"
    max_tokens: int = Field(default=192, ge=8)


class SparseTeacher(_Teacher):
    """Dot product of a trained SPLADE encoder's vectors, the `top_terms` heaviest of each."""

    kind: Literal["sparse"] = "sparse"
    model: str
    top_terms: int = Field(default=192, ge=1)
    max_tokens: int = Field(default=192, ge=8)


class BM25Teacher(_Teacher):
    """BM25 over the backbone's own tokens."""

    kind: Literal["bm25"] = "bm25"
    k1: float = Field(default=0.9, gt=0)
    b: float = Field(default=0.4, ge=0, le=1)


class ScoresTeacher(_Teacher):
    """The scores that come with data.examples, computed before by a cross-encoder, say."""

    kind: Literal["scores"] = "scores"


class CrossEncoderTeacher(_Teacher):
    """A sequence classifier with one output, run live on a query's own documents."""

    kind: Literal["cross-encoder"] = "cross-encoder"
    model: str
    max_tokens: int = Field(default=256, ge=16)
    batch_pairs: int = Field(default=256, ge=1)


TeacherConfig = Annotated[
    DenseTeacher | SparseTeacher | BM25Teacher | ScoresTeacher | CrossEncoderTeacher,
    Field(discriminator="kind"),
]


class NegativesConfig(Config):
    """Hard negatives: the nearest passages by some of the teachers.

    Attributes
    ----------
    teachers : tuple of str
        Names of teachers of kind dense, sparse or bm25 (the last two search with our own exact
        index); their lists are merged rank by rank.
    depth : int
        Kept candidates a query; a step draws from them.
    margin : float
        A candidate is dropped as a likely false negative when its score exceeds
        ``margin ×`` the positive's (cosines: .95). Lower is stricter.
    """

    teachers: tuple[str, ...] = Field(min_length=1)
    depth: int = Field(default=64, ge=1, le=1024)
    margin: float = Field(default=0.95, gt=0)


class InfoNCEConfig(Config):
    """Contrastive loss; `negatives` names the set in the denominator."""

    kind: Literal["info-nce"] = "info-nce"
    weight: float = Field(default=1.0, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    negatives: Literal["all", "own-and-negatives", "positives-and-own"] = "all"


class MarginMSEConfig(Config):
    """Margin-MSE against the teacher, positive against negatives or every pair."""

    kind: Literal["margin-mse"] = "margin-mse"
    weight: float = Field(default=1.0, gt=0)
    pairs: Literal["positive", "all"] = "positive"
    candidates: Literal["own", "batch"] = "own"


class KLConfig(Config):
    """KL from the teacher's distribution over the candidate list to the student's."""

    kind: Literal["kl"] = "kl"
    weight: float = Field(default=1.0, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    candidates: Literal["own", "batch"] = "batch"


LossConfig = Annotated[InfoNCEConfig | MarginMSEConfig | KLConfig, Field(discriminator="kind")]


class RegularizerConfig(Config):
    """A tax on active terms.

    Attributes
    ----------
    kind : {"flops", "idf-flops", "df-flops", "l1"}
        See `lsr.training.regularizers`.
    weight : float
        λ at the end of the schedule. Larger is sparser. Its meaning does not depend on batch,
        group size or number of processes.
    warmup_steps : int
        λ(t) = λ · min(1, (t / warmup_steps)²).
    min_terms : int
        ℓ0 mask: only vectors with more active terms are taxed (0: all are).
    df_every : int
        DF-FLOPS only: steps between estimates of the document frequencies.
    """

    kind: Literal["flops", "idf-flops", "df-flops", "l1"] = "flops"
    weight: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=1000, ge=0)
    min_terms: int = Field(default=0, ge=0)
    df_every: int = Field(default=100, ge=1)


class ControllerConfig(Config):
    """Steers λ of the document regulariser to a budget instead of fixing it.

    Attributes
    ----------
    target_doc_terms : float
        Mean active terms of a training document at the end.
    ramp_steps : int
        The set point falls geometrically from the first measurement to the target.
    gain, damping : float
        What moves log λ in a step: gain × (log of the excess + damping × its change). More gain
        is faster, less damping lets it swing: terms follow λ with a delay of some hundred steps.
    min_weight, max_weight : float
        Bounds of λ. Below the lower one a tax does nothing, and λ would take thousands of steps
        to come back up when the terms grow.
    """

    target_doc_terms: float = Field(gt=0)
    ramp_steps: int = Field(default=1000, ge=1)
    gain: float = Field(default=0.01, gt=0)
    damping: float = Field(default=200.0, ge=0)
    min_weight: float = Field(default=1e-4, gt=0)
    max_weight: float = Field(default=10.0, gt=0)
