"""Writing folders that sentence-transformers' ``SparseEncoder`` loads (its 5.4 and 6 layouts).

Two shapes: *siamese*, a ``Transformer`` and a ``SpladePooling``; and *router*, one chain of
modules for queries and one for documents, the query chain a ``SparseStaticEmbedding`` where it is
a table. ``lsr_config.json`` holds what that format has no place for (a maximum length a side);
sentence-transformers does not read it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lsr.core.manifest import Manifest
from lsr.encoders.base import Encoder
from lsr.encoders.folder import ENCODER_FORMAT
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.splade import MaskedLMEncoder

__all__ = ["LSR_CONFIG", "SATURATIONS", "encoder_manifest", "write_router", "write_siamese"]

LSR_CONFIG = "lsr_config.json"
SATURATIONS = {1: "relu", 2: "log1p_relu"}
"""Our number of logarithms to the name sentence-transformers gives it."""

_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
_POOLING = "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling"
_STATIC = (
    "sentence_transformers.sparse_encoder.modules.sparse_static_embedding.SparseStaticEmbedding"
)
_ROUTER = "sentence_transformers.base.modules.router.Router"


def encoder_manifest(encoder: Encoder) -> Manifest:
    """Return the manifest of an encoder's folder."""
    details = {
        "kind": "sentence-transformers",
        "name": encoder.name,
        "idf": encoder.idf,
        "fingerprint": encoder.fingerprint,
    }
    return Manifest.new("encoder", ENCODER_FORMAT, details=details)


def write_siamese(encoder: MaskedLMEncoder, folder: Path) -> None:
    """Write one masked-LM for both sides into the existing `folder`."""
    length = encoder.options.document_max_length
    _write_transformer(encoder, folder, max_length=length)
    _write_pooling(encoder, folder / "1_SpladePooling")
    _write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": _TRANSFORMER},
            {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": _POOLING},
        ],
    )
    options = encoder.options
    prompts = {"query": options.query_prompt, "document": options.document_prompt}
    _write_common(folder, encoder.name, prompts, options.max_active_dims, options.as_dict())


def write_router(
    name: str,
    query: LookupQueryEncoder | MaskedLMEncoder,
    document: MaskedLMEncoder,
    folder: Path,
) -> None:
    """Write a query side and a document side into the existing `folder`."""
    types: dict[str, str] = {}
    structure: dict[str, list[str]] = {}
    if isinstance(query, LookupQueryEncoder):
        module = "query_0_SparseStaticEmbedding"
        _write_static(query, folder / module)
        types[module] = _STATIC
        structure["query"] = [module]
        query_options: dict[str, Any] = {
            "query_max_length": query.max_length,
            "query_prompt": query.prompt,
        }
        extra: dict[str, Any] = {"idf": query.idf, "query_name": query.name}
        if query.term_frequency != "presence":
            extra["query_term_frequency"] = query.term_frequency
    else:
        structure["query"] = _write_chain(query, folder, "query", types)
        query_options = {
            "query_max_length": query.options.query_max_length,
            "query_prompt": query.options.query_prompt,
        }
        extra = {"idf": query.idf, "query_name": query.name}
    structure["document"] = _write_chain(document, folder, "document", types)
    _write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": _ROUTER}])
    parameters = {"default_route": "document", "allow_empty_key": True, "route_mappings": {}}
    _write_json(
        folder / "router_config.json",
        {"types": types, "structure": structure, "parameters": parameters},
    )
    options = {**document.options.as_dict(), **query_options}
    prompts = {"query": options["query_prompt"], "document": options["document_prompt"]}
    _write_common(folder, name, prompts, options["max_active_dims"], {**options, **extra})


def _write_chain(
    encoder: MaskedLMEncoder, folder: Path, side: str, types: dict[str, str]
) -> list[str]:
    names = [f"{side}_0_Transformer", f"{side}_1_SpladePooling"]
    length = getattr(encoder.options, f"{side}_max_length")
    (folder / names[0]).mkdir()
    _write_transformer(encoder, folder / names[0], max_length=length)
    _write_pooling(encoder, folder / names[1])
    types.update(zip(names, (_TRANSFORMER, _POOLING), strict=True))
    return names


def _write_transformer(encoder: MaskedLMEncoder, folder: Path, *, max_length: int) -> None:
    with encoder.module.whole_model() as model:
        model.save_pretrained(folder)
    encoder.tokenizer.save(folder, max_length=max_length)
    _write_json(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "fill-mask",
            "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
            "module_output_name": "token_embeddings",
        },
    )


def _write_pooling(encoder: MaskedLMEncoder, folder: Path) -> None:
    folder.mkdir()
    _write_json(
        folder / "config.json",
        {
            "pooling_strategy": encoder.module.pooling,
            "activation_function": SATURATIONS[encoder.module.saturation],
            "embedding_dimension": encoder.module.vocabulary_size,
        },
    )


def _write_static(query: LookupQueryEncoder, folder: Path) -> None:
    from safetensors.numpy import save

    folder.mkdir()
    # A position no token has would make the table wider than sentence-transformers expects.
    weights = np.ascontiguousarray(query.weights)
    (folder / "model.safetensors").write_bytes(save({"weight": weights}))
    query.tokenizer.save(folder, max_length=query.max_length)
    _write_json(folder / "config.json", {"frozen": False})


def _write_common(
    folder: Path,
    name: str,
    prompts: dict[str, str],
    max_active_dims: int | None,
    own: dict[str, Any],
) -> None:
    config: dict[str, Any] = {
        "model_type": "SparseEncoder",
        "prompts": prompts,
        "default_prompt_name": None,
        "similarity_fn_name": "dot",
    }
    if max_active_dims is not None:
        config["max_active_dims"] = max_active_dims
    _write_json(folder / "config_sentence_transformers.json", config)
    _write_json(folder / LSR_CONFIG, {"name": name, **own})
    (folder / "README.md").write_text(_card(name), encoding="utf-8")


def _card(name: str) -> str:
    return (
        "---\nlibrary_name: sentence-transformers\npipeline_tag: feature-extraction\n"
        "tags: [sparse-encoder, sparse, splade, lsr]\n---\n\n"
        f"# {name}\n\nA learned sparse encoder written by lsr.\n\n"
        "```python\nfrom lsr.encoders import load_encoder\n"
        'encoder = load_encoder("PATH")\n```\n\n'
        "```python\nfrom sentence_transformers import SparseEncoder\n"
        'encoder = SparseEncoder("PATH")\n```\n'
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
