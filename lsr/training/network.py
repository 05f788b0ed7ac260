"""The trainable network: the encoders' own torch modules, built from a recipe.

A side is a module of `lsr.encoders.torch_sides`: token ids in, weights over the vocabulary out.
The query side and the document side may be one module (siamese). `encode` runs a side for
training: where it pools by the maximum, through `max_project`, so that the logits never stand in
memory; the module's plain forward is the definition it is tested against.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lsr.core.errors import ModelFormatError
from lsr.encoders.torch_sides import LookupSide, MaskedLMSide, TermWeightSide, saturate
from lsr.training.config import ExecutionConfig, TrainConfig
from lsr.training.lexical_part import LexicalPart
from lsr.training.projection import max_project

__all__ = [
    "Network",
    "NeuralSide",
    "QuerySide",
    "ScalarSide",
    "build_network",
    "encode",
    "load_masked_lm",
    "model_folder",
]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "embedding_dropout",
    "mlp_dropout",
)


class ScalarSide(nn.Module):
    """The binary query with one learned number for every term: q_j = relu(c) where j stands.

    Starts at .3. Saved as a table.
    """

    special: Tensor

    def __init__(self, vocabulary_size: int, special_terms: Tensor, *, start: float = 0.3) -> None:
        super().__init__()
        self.scalar = nn.Parameter(torch.tensor(start))
        mask = torch.zeros(vocabulary_size, dtype=torch.bool)
        mask[special_terms] = True
        self.register_buffer("special", mask, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The table it stands for, shape (n_terms,)."""
        return torch.where(self.special, 0.0, torch.relu(self.scalar))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the dense weights, shape (batch, n_terms)."""
        present = torch.zeros(len(input_ids), len(self.special), device=input_ids.device)
        present = present.scatter_reduce(
            1, input_ids, attention_mask.to(present.dtype), "amax", include_self=True
        )
        return present * self.weight


NeuralSide = MaskedLMSide | TermWeightSide
"""What can encode documents."""

QuerySide = NeuralSide | LookupSide | ScalarSide


class Network(nn.Module):
    """A query side and a document side, one module where they are shared; maybe a lexical part."""

    def __init__(
        self, query: QuerySide, document: NeuralSide, lexical: LexicalPart | None = None
    ) -> None:
        super().__init__()
        self.document = document
        self.lexical = lexical
        self.shared = query is document
        if not self.shared:
            self.query = query

    def query_side(self) -> QuerySide:
        """Return the module that encodes queries."""
        return self.document if self.shared else self.query


def encode(side: QuerySide, ids: Tensor, mask: Tensor, execution: ExecutionConfig) -> Tensor:
    """Return a side's dense weights for training, float32, shape (batch, vocabulary)."""
    if not isinstance(side, MaskedLMSide):
        out: Tensor = side(ids, mask)
        return out.float()
    states = side.hidden(ids, mask)
    decoder = side.decoder
    bias = decoder.bias
    if bias is None:
        bias = torch.zeros(decoder.out_features, device=states.device)
    if side.pooling == "max":
        peak = max_project(
            states,
            decoder.weight,
            bias,
            mask,
            max_bytes=execution.projection_bytes,
        )
        return saturate(peak, side.saturation)
    size = max(1, execution.projection_bytes // (states.shape[1] * decoder.out_features * 4))
    parts = [
        checkpoint(_summed, side, states[at : at + size], mask[at : at + size], use_reentrant=False)
        for at in range(0, len(states), size)
    ]
    return torch.cat(parts)


def _summed(side: MaskedLMSide, states: Tensor, mask: Tensor) -> Tensor:
    weights = saturate(torch.relu(side.decoder(states).float()), side.saturation)
    return (weights * mask[:, :, None]).sum(dim=1)


def model_folder(name: str | Path) -> Path:
    """Return the folder of a model: itself, or the local copy of a hub id.

    Raises
    ------
    ModelFormatError
        If there is no such folder and the name is no hub id.
    EncoderNotFoundError
        If the hub does not give it.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if isinstance(name, str) and _HUB_ID.fullmatch(name):
        from lsr.encoders.hub import fetch_model

        return fetch_model(name)
    raise ModelFormatError(
        f"No model folder {str(name)!r}.",
        hint="Give a folder, a hub id, or --set models_folder=… where it is looked for by name.",
    )


def load_masked_lm(path: str | Path, *, dropout: float | None = None) -> tuple[Any, bool]:
    """Return a Hugging Face masked-LM in float32, and whether its head is fresh.

    A bare encoder (no head in the checkpoint) gets one of its own shape, tied to the embeddings.

    Raises
    ------
    ModelFormatError
        If the folder is no model with a masked-LM form.
    """
    from transformers import AutoConfig, AutoModelForMaskedLM
    from transformers.utils import logging as hf_logging

    # The report of missing head weights is what `fresh` says.
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity(40)
    folder = model_folder(path)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        for name in _DROPOUTS:
            if dropout is not None and hasattr(config, name):
                setattr(config, name, dropout)
        model, info = AutoModelForMaskedLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise ModelFormatError(
            f"{path} is no model with a masked-LM form: {error}",
            hint="Pass a Hugging Face model folder or hub id as model.backbone.",
        ) from error
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()
    base = f"{model.base_model_prefix}."
    missing = [key for key in info["missing_keys"] if not key.startswith(base)]
    return model, any(key.endswith("weight") and "decoder" not in key for key in missing)


def build_network(
    config: TrainConfig,
    *,
    idf: Tensor,
    special: dict[str, int],
    lexical: LexicalPart | None = None,
) -> tuple[Network, bool]:
    """Return the network a recipe asks for, and whether a masked-LM head of it is fresh.

    Parameters
    ----------
    config : TrainConfig
        Its `model` and `execution` decide.
    idf : Tensor, shape (vocabulary_size,)
        Of the training passages.
    special : dict of int
        Ids that never get a query weight.
    lexical : LexicalPart, optional
        Taken over as it is.
    """
    model = config.model
    size = len(idf)
    terms = torch.tensor(sorted(set(special.values())))
    document, fresh = _neural_side(config, model.document, model.backbone, size, terms)
    query: QuerySide
    match model.query:
        case "idf":
            table = idf
            if model.query_weights is not None:
                table = _saved_table(model.query_weights, size)
            table = table * model.query_scale
            query = LookupSide(
                table,
                special_terms=terms,
                trainable=model.train_query_weights,
                term_frequency=model.query_term_frequency,
            )
        case "learned":
            query = LookupSide(
                torch.ones(size),
                special_terms=terms,
                trainable=True,
                term_frequency=model.query_term_frequency,
            )
        case "binary" if model.train_query_weights:
            query = ScalarSide(size, terms)
        case "binary":
            query = LookupSide(torch.ones(size), special_terms=terms, trainable=False)
        case kind if kind == model.document and model.query_backbone is None:
            query = document
        case kind:
            backbone = model.query_backbone or model.backbone
            query, fresh_query = _neural_side(config, kind, backbone, size, terms)
            fresh = fresh or fresh_query
    document.requires_grad_(model.train_document)
    return Network(query, document, lexical), fresh


def _saved_table(path: Path, size: int) -> Tensor:
    """Return the query weights of a saved table (safetensors with one tensor of `size`)."""
    from safetensors.torch import load_file

    try:
        tables = [t for t in load_file(path).values() if t.shape == (size,)]
    except (OSError, SafetensorError) as error:
        raise ModelFormatError(f"No table of query weights at {path}: {error}.") from error
    if len(tables) != 1:
        raise ModelFormatError(f"{path} holds no single table of {size} query weights.")
    return tables[0].float()


def _neural_side(
    config: TrainConfig, kind: str, backbone: str, size: int, special: Tensor
) -> tuple[NeuralSide, bool]:
    if not backbone:
        raise ModelFormatError("The recipe names no model.backbone.", hint="--set model.backbone=…")
    model = config.model
    masked_lm, fresh = load_masked_lm(backbone, dropout=model.dropout)
    if config.execution.checkpoint_layers:
        # Renamed in transformers 5.20; releases before know the old name only.
        enable = getattr(masked_lm, "activation_checkpointing_enable", None)
        (enable or masked_lm.gradient_checkpointing_enable)({"use_reentrant": False})
    if kind == "mlm":
        times = {"log1p": 1, "log1p-twice": 2}[model.saturation]
        return MaskedLMSide(masked_lm, pooling=model.pooling, saturation=times), fresh
    bare = getattr(masked_lm, masked_lm.base_model_prefix)
    side = TermWeightSide(
        bare, vocabulary_size=size, special_terms=special, head_width=model.head_width
    )
    # A relu that is dead at the start never learns: begin with weights of about 1.
    last = [m for m in side.head.modules() if isinstance(m, nn.Linear)][-1]
    nn.init.ones_(last.bias)
    return side, False
