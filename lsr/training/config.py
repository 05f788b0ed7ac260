"""The training recipe: every choice that decides the trained model, as one frozen config.

A recipe is a TOML file; what it does not name has the default written here. Alternatives are
tagged unions (``kind = "flops"``), so that no meaningless combination fits. Its larger parts have
modules of their own, `config_data` and `config_objective`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lsr.core.config import Config, config_hash
from lsr.training.config_data import (
    DataConfig,
    ExamplesConfig,
    SentenceQueries,
)
from lsr.training.config_objective import (
    BM25Teacher,
    ControllerConfig,
    CrossEncoderTeacher,
    DenseTeacher,
    InfoNCEConfig,
    KLConfig,
    LossConfig,
    MarginMSEConfig,
    NegativesConfig,
    RegularizerConfig,
    ScoresTeacher,
    SparseTeacher,
    TeacherConfig,
)

__all__ = [
    "BM25Teacher",
    "ControllerConfig",
    "CrossEncoderTeacher",
    "DataConfig",
    "DenseTeacher",
    "ExamplesConfig",
    "ExecutionConfig",
    "InfoNCEConfig",
    "KLConfig",
    "LossConfig",
    "MarginMSEConfig",
    "ModelConfig",
    "NegativesConfig",
    "OptimizerConfig",
    "RegularizerConfig",
    "ScoresTeacher",
    "SentenceQueries",
    "SparseTeacher",
    "TeacherConfig",
    "TrainConfig",
    "WarmupConfig",
    "recipe_hash",
]


class ModelConfig(Config):
    """Backbone, query side and document side.

    Attributes
    ----------
    backbone : str
        Folder or hub id of a Hugging Face model: a masked LM, or a bare encoder, which gets a
        fresh masked-LM head tied to its embeddings (then use the warm-up stage).
    query : {"idf", "binary", "learned", "mlm", "term-weight"}
        ``idf``: lookup of relu(idf); ``binary``: one learned scalar; ``learned``: a free number
        a term (Li-LSR); ``mlm``: the document side's network (siamese SPLADE), or its own with
        `query_backbone`; ``term-weight``: a scalar for each token (uniCOIL).
    document : {"mlm", "term-weight"}
        ``mlm``: SPLADE-like expansion; ``term-weight``: a scalar for each token of the text.
    pooling : {"max", "sum"}
        Over positions; ``sum`` is SPLADE v1.
    saturation : {"log1p", "log1p-twice"}
        log(1 + x), or log(1 + log(1 + x)): sparser and flatter.
    train_query_weights : bool
        Whether the lookup's numbers are trained.
    query_scale : float
        The table starts at so many times idf, or so many times `query_weights`. The ranking does not depend on it, the training
        does: where the first scores spread wider than the teachers', the loss pulls all weights
        down, active terms fall away, and a term that is off everywhere gets no gradient to come
        back. With twice-saturated documents 1 pulls down, .5 is about neutral, .25 pulls up.
    query_term_frequency : {"presence", "log", "count"}
        What a repeated query token counts in a lookup: 1, 1 + ln(tf), tf. sentence-transformers
        knows presence only.
    query_weights : Path, optional
        Start the lookup from a saved model's table, not from the data's idf.
    lexical : Path, optional
        Folder of a fitted `LexicalEncoder`, or a shipped one (``lsr-mini/lexical``): its vectors
        take part in the student's scores, and the saved model wants to be searched with them
        (``lsr encoder add-lexical``).
    lexical_weight : float
        What the lexical scores count.
    train_document : bool
        Whether the document side is trained; else only the query side's tables are.
    query_backbone : str, optional
        A second network for the queries (efficient SPLADE); only for a query side that has one.
    head_width : int, optional
        Hidden layer of a term-weight head (DeepImpact); none: one linear map (uniCOIL).
    max_length : int, optional
        Tokens of a document the saved encoder reads; as many as in training otherwise.
    dropout : float, optional
        Replaces the backbone's own.
    """

    backbone: str = ""
    query: Literal["idf", "binary", "learned", "mlm", "term-weight"] = "idf"
    document: Literal["mlm", "term-weight"] = "mlm"
    pooling: Literal["max", "sum"] = "max"
    saturation: Literal["log1p", "log1p-twice"] = "log1p"
    train_query_weights: bool = True
    query_scale: float = Field(default=1.0, gt=0)
    query_term_frequency: Literal["presence", "log", "count"] = "presence"
    query_weights: Path | None = None
    lexical: Path | None = None
    lexical_weight: float = Field(default=0.5, gt=0)
    train_document: bool = True
    query_backbone: str | None = None
    head_width: int | None = Field(default=None, ge=1)
    max_length: int | None = Field(default=None, ge=8)
    dropout: float | None = Field(default=None, ge=0, lt=1)

    @model_validator(mode="after")
    def _combinations(self) -> ModelConfig:
        if self.query_backbone is not None and self.query not in ("mlm", "term-weight"):
            raise ValueError(f"query = {self.query!r} has no network for query_backbone")
        if not self.train_document and self.query in ("mlm", "term-weight"):
            raise ValueError(f"query = {self.query!r} leaves nothing to train without the document")
        if self.query_term_frequency != "presence" and self.query not in ("idf", "learned"):
            raise ValueError(f"query = {self.query!r} knows query_term_frequency = 'presence' only")
        return self


class OptimizerConfig(Config):
    """AdamW with a warm-up and a linear or cosine decay.

    Attributes
    ----------
    query_weights_learning_rate : float
        For the lookup of the query side.
    """

    learning_rate: float = Field(default=2e-5, gt=0)
    query_weights_learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)
    warmup_steps: int = Field(default=500, ge=0)
    decay: Literal["linear", "cosine", "none"] = "linear"
    max_gradient_norm: float = Field(default=1.0, gt=0)


class WarmupConfig(Config):
    """Masked-LM training on the passages, before the ranking: for a backbone with a fresh head.

    Attributes
    ----------
    steps : int
        0 skips the stage.
    batch_size : int
        Passages a step.
    mask_share : float
        Share of tokens to be predicted (80 % masked, 10 % random, 10 % kept, as BERT's).
    """

    steps: int = Field(default=0, ge=0)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    warmup_steps: int = Field(default=200, ge=0)
    mask_share: float = Field(default=0.15, gt=0, lt=1)
    max_tokens: int = Field(default=128, ge=8)


class ExecutionConfig(Config):
    """How a step is cut to fit memory; none of it changes the result.

    Attributes
    ----------
    micro_documents : int
        Documents a forward pass; sorted by length, so that padding is small.
    cache_gradients : bool
        Encode without graph, take the loss's gradient by the vectors, encode again with it
        (GradCache): memory of one micro batch, a second forward pass of time.
    checkpoint_layers : bool
        Recompute the backbone's layers in the backward pass.
    compile : bool
        Compile the backbone (torch.compile, dynamic shapes): a minute at the start, fewer passes
        over memory in every step.
    precision : {"auto", "f32", "bf16"}
        ``auto`` is bf16 on a GPU that has it, else f32.
    projection_bytes : int
        Memory of the vocabulary logits at a time.
    """

    micro_documents: int = Field(default=256, ge=1)
    cache_gradients: bool = False
    checkpoint_layers: bool = False
    compile: bool = False
    precision: Literal["auto", "f32", "bf16"] = "auto"
    projection_bytes: int = Field(default=1 << 28, ge=1 << 16)


class TrainConfig(Config):
    """One trained model.

    Attributes
    ----------
    steps : int
        Optimiser steps of the ranking stage.
    batch_queries : int
        Queries a step, over all processes.
    documents_per_query : int
        The positive and its drawn negatives.
    teacher_scale : float
        Scale of the mixed, row-wise min-max normalised teacher scores.
    start_terms : int
        Sparse start: the output bias is shifted so that a document begins with about so many
        active terms (0: no shift).
    models_folder : Path, optional
        Where the names of backbone and teachers are looked for.
    licence : str
        Of the saved model, for its card.
    save_dtype : {"f16", "f32"}
        Number format of the saved weights.
    log_every, checkpoint_every, evaluate_every : int
        In steps; evaluation also at the end (0: only there).
    """

    name: str = Field(default="model", pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = Field(default=13, ge=0)
    models_folder: Path | None = None
    licence: str = "apache-2.0"
    save_dtype: Literal["f16", "f32"] = "f16"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    warmup: WarmupConfig = WarmupConfig()
    teachers: tuple[TeacherConfig, ...] = ()
    teacher_scale: float = Field(default=30.0, gt=0)
    negatives: NegativesConfig | None = None
    losses: tuple[LossConfig, ...] = (InfoNCEConfig(),)
    document_regularizer: RegularizerConfig | None = None
    query_regularizer: RegularizerConfig | None = None
    controller: ControllerConfig | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    execution: ExecutionConfig = ExecutionConfig()
    steps: int = Field(default=10_000, ge=1)
    batch_queries: int = Field(default=32, ge=1)
    documents_per_query: int = Field(default=2, ge=1)
    start_terms: int = Field(default=0, ge=0)
    log_every: int = Field(default=50, ge=1)
    checkpoint_every: int = Field(default=1000, ge=1)
    evaluate_every: int = Field(default=0, ge=0)

    def with_found_models(self) -> TrainConfig:
        """Return the recipe with the models' names replaced by their folders in `models_folder`."""
        folder = self.models_folder
        if folder is None:
            return self

        def found(name: str) -> str:
            return str(folder / name) if name and (folder / name).is_dir() else name

        model = self.model.model_copy(
            update={
                "backbone": found(self.model.backbone),
                "query_backbone": self.model.query_backbone and found(self.model.query_backbone),
            }
        )
        teachers = tuple(
            t.model_copy(update={"model": found(t.model)})
            if t.kind in ("dense", "sparse", "cross-encoder")
            else t
            for t in self.teachers
        )
        return self.model_copy(update={"model": model, "teachers": teachers})

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        names = [t.name for t in self.teachers]
        if len(set(names)) != len(names):
            raise ValueError(f"teacher names must differ, got {names}")
        searchable = [t.name for t in self.teachers if t.kind in ("dense", "sparse", "bm25")]
        for name in self.negatives.teachers if self.negatives is not None else ():
            if name not in searchable:
                raise ValueError(f"negatives.teachers: {name!r} is none of {searchable}")
        distils = [loss for loss in self.losses if loss.kind != "info-nce"]
        if distils and not self.teachers:
            raise ValueError(f"the loss {distils[0].kind!r} needs a teacher")
        own_only = [t.name for t in self.teachers if t.kind in ("scores", "cross-encoder")]
        if own_only and any(getattr(x, "candidates", "own") == "batch" for x in distils):
            raise ValueError(f"{own_only[0]!r} scores own candidates only: set candidates = 'own'")
        if self.controller is not None and self.document_regularizer is None:
            raise ValueError("a controller needs a document_regularizer to steer")
        return self


def recipe_hash(config: TrainConfig) -> str:
    """Return the hash of what decides the result: not where files lie, nor how it is logged."""
    logged = {"log_every", "checkpoint_every", "evaluate_every", "models_folder"}
    model = config.model.model_copy(
        update={
            "backbone": Path(config.model.backbone).name,
            "lexical": config.model.lexical and Path(config.model.lexical.name),
        }
    )
    data = config.data.model_copy(update={"pairs": ()})
    same = {name: getattr(TrainConfig(), name) for name in logged}
    teachers = tuple(
        t.model_copy(update={"model": Path(t.model).name})
        if t.kind in ("dense", "sparse", "cross-encoder")
        else t
        for t in config.teachers
    )
    return config_hash(
        config.model_copy(update={"model": model, "data": data, "teachers": teachers, **same})
    )
