"""The trained network as an encoder folder, with a card that says how it came about."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lsr.core.artifact import MANIFEST_NAME, write_artifact
from lsr.core.config import config_hash
from lsr.core.manifest import Manifest
from lsr.encoders.base import Encoder, QueryEncoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.folder import ENCODER_FORMAT
from lsr.encoders.hf_models import load_tokenizer, positions
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.lexical import LexicalEncoder
from lsr.encoders.splade import MaskedLMEncoder
from lsr.encoders.term_weight import TermWeightEncoder
from lsr.encoders.tokenization import TextTokenizer
from lsr.encoders.torch_encoder import TextOptions
from lsr.encoders.torch_sides import LookupSide, MaskedLMSide
from lsr.training.config import TrainConfig
from lsr.training.lexical_part import load_lexical
from lsr.training.network import Network, NeuralSide, QuerySide, ScalarSide, model_folder
from lsr.training.pair_table import PairTable

__all__ = ["build_encoder", "model_card", "save_lexical", "save_model"]


def build_encoder(network: Network, config: TrainConfig, *, device: str = "cpu") -> Encoder:
    """Return the network as an encoder; it shares the network's weights."""
    backbone = model_folder(config.model.backbone)
    document = _neural(network.document, config, backbone, device)
    query = network.query_side()
    if query is network.document:
        return document
    return ComposedEncoder(
        _query(query, config, document.tokenizer, device), document, name=config.name
    )


def _neural(
    side: NeuralSide, config: TrainConfig, backbone: Path, device: str
) -> MaskedLMEncoder | TermWeightEncoder:
    tokenizer = load_tokenizer(backbone, size=side.vocabulary_size)
    limit = positions(side.model, tokenizer)
    options = TextOptions(
        query_max_length=min(config.data.max_query_tokens, limit),
        document_max_length=min(config.model.max_length or config.data.max_document_tokens, limit),
    )
    if isinstance(side, MaskedLMSide):
        return MaskedLMEncoder(
            side, tokenizer, name=config.name, options=options, device=device, dtype="float32"
        )
    return TermWeightEncoder(
        side, tokenizer, name=config.name, options=options, device=device, dtype="float32"
    )


def _query(
    side: QuerySide, config: TrainConfig, tokenizer: TextTokenizer, device: str
) -> QueryEncoder:
    if isinstance(side, LookupSide | ScalarSide):
        weight = side.weight.detach()
        table: Tensor = torch.relu(weight.masked_fill(side.special, 0.0)).float().cpu()
        return LookupQueryEncoder(
            tokenizer,
            table.numpy(),
            name=f"{config.name}-queries",
            idf="query" if config.model.query == "idf" else "none",
            term_frequency=config.model.query_term_frequency,
        )
    backbone = model_folder(config.model.query_backbone or config.model.backbone)
    return _neural(side, config, backbone, device)


def save_model(
    network: Network,
    config: TrainConfig,
    pairs: PairTable,
    path: Path,
    *,
    step: int,
    figures: dict[str, Any],
) -> None:
    """Write the network as an encoder folder into `path`, replacing an older save.

    Parameters
    ----------
    network : Network
        On the CPU. Its weights are rounded to float16 where the recipe says so.
    config, pairs : TrainConfig, PairTable
        For the card and the manifest.
    path : Path
        What `lsr.encoders.load_encoder` and sentence-transformers will load.
    step : int
        Optimiser steps behind it.
    figures : dict
        The last logged figures, for the card.
    """
    if config.save_dtype == "f16":
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(parameter.half().float())
    encoder = build_encoder(network, config)
    public = _without_folders(config)
    training = {
        "step": step,
        "recipe": config.name,
        "recipe_hash": config_hash(config),
        "pairs": pairs.manifest.details,
        "figures": figures,
    }
    details = {
        "kind": "sentence-transformers",
        "name": encoder.name,
        "idf": encoder.idf,
        "fingerprint": encoder.fingerprint,
        "training": training,
    }
    manifest = Manifest.new(
        "encoder",
        ENCODER_FORMAT,
        details=details,
        config=public.model_dump(mode="json"),
        config_hash=config_hash(config),
        seed=config.seed,
    )
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        plain = Path(scratch) / "encoder"
        if config.save_dtype == "f16":
            for side in (network.document, network.query_side()):
                if not isinstance(side, LookupSide | ScalarSide):
                    side.half()
        encoder.save(plain)
        network.float()
        with write_artifact(path, manifest, overwrite=True) as writer:
            for file in plain.iterdir():
                if file.is_dir():
                    writer.copy_tree(file.name, file)
                elif file.name != MANIFEST_NAME:
                    shutil.copy(file, writer.path / file.name)
            writer.text("README.md", model_card(config, pairs, step=step, figures=figures))
            writer.text("recipe.json", public.model_dump_json(indent=1))


def save_lexical(network: Network, config: TrainConfig, path: Path) -> None:
    """Write the lexical channel of a network that has one into `path`, its idf as it was trained.

    ``lsr encoder add-lexical MODEL --lexical PATH`` puts both together again.
    """
    if network.lexical is None or config.model.lexical is None:
        return
    fitted = load_lexical(config.model.lexical)
    weights = torch.relu(network.lexical.weight.detach()).cpu() / config.model.lexical_weight
    shutil.rmtree(path, ignore_errors=True)
    LexicalEncoder(
        fitted.vocabulary, weights.numpy(), fitted.mean_length, config=fitted.config
    ).save(path)


def _without_folders(config: TrainConfig) -> TrainConfig:
    """Return the recipe with the names of folders and files only: a model travels."""
    model = config.model
    small = {
        "backbone": Path(model.backbone).name,
        "query_backbone": Path(model.query_backbone).name if model.query_backbone else None,
        "query_weights": Path(model.query_weights.name) if model.query_weights else None,
        "lexical": Path(model.lexical.name) if model.lexical else None,
    }
    teachers = [
        t.model_copy(update={"model": Path(t.model).name})
        if t.kind in ("dense", "sparse", "cross-encoder")
        else t
        for t in config.teachers
    ]
    data = config.data.model_copy(update={"pairs": tuple(Path(p.name) for p in config.data.pairs)})
    return config.model_copy(
        update={
            "model": model.model_copy(update=small),
            "teachers": tuple(teachers),
            "data": data,
            "models_folder": None,
        }
    )


def model_card(config: TrainConfig, pairs: PairTable, *, step: int, figures: dict[str, Any]) -> str:
    """Return the model card, Markdown with the metadata block hubs read."""
    details, model = pairs.manifest.details, config.model
    recipe = f"`{config.name}` (hash `{config_hash(config)}`)"
    sizes = [f"{details[f'n_{what}']:,} {what}" for what in ("pairs", "queries", "passages")]
    rows = [
        f"| {source} | {n:,} | {config.data.source_weights.get(source, 1.0):g} |"
        for source, n in sorted(details["pairs_by_source"].items(), key=lambda x: -x[1])
    ]
    teachers = [f"- {t.name} ({t.kind}), weight {t.weight:g}" for t in config.teachers] or [
        "- none"
    ]
    losses = [f"- {x.kind}, weight {x.weight:g}" for x in config.losses]
    beside = (
        [f"- Trained beside lexical scores, × {model.lexical_weight:g}"] if model.lexical else []
    )
    if config.document_regularizer is not None:
        tax = f"- {config.document_regularizer.kind} on documents"
        if config.controller is not None:
            tax += f", λ steered to {config.controller.target_doc_terms:g} terms a document"
        else:
            tax += f", λ {config.document_regularizer.weight:g}"
        losses.append(tax)
    seen = {k: v for k, v in figures.items() if isinstance(v, int | float) and k != "time"}
    return "\n".join(
        [
            "---",
            "library_name: sentence-transformers",
            "pipeline_tag: feature-extraction",
            f"license: {config.licence}",
            "tags: [sparse-encoder, sparse, splade, lsr]",
            "---",
            "",
            f"# {config.name}",
            "",
            f"A learned sparse encoder trained by lsr, {step:,} steps of recipe {recipe}.",
            "",
            f"- Backbone: {Path(config.model.backbone).name}",
            f"- Queries: {model.query}",
            *beside,
            f"- Documents: {model.document}, {model.pooling} pooling, {model.saturation}",
            f"- Saved weights: {config.save_dtype}",
            "",
            "```python",
            "from lsr.encoders import load_encoder",
            'encoder = load_encoder("PATH")',
            "",
            "from sentence_transformers import SparseEncoder",
            'encoder = SparseEncoder("PATH")',
            "```",
            "",
            "## Training data",
            "",
            ", ".join(sizes) + ".",
            "",
            "| source | pairs | seen an epoch |",
            "|---|---:|---:|",
            *rows,
            "",
            "## Teachers and losses",
            "",
            *teachers,
            *losses,
            "",
            "## Last figures of the training log",
            "",
            "```json",
            json.dumps(seen, indent=1),
            "```",
            "",
        ]
    )
