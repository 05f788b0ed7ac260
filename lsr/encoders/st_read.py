"""Reading sentence-transformers ``SparseEncoder`` folders, without sentence-transformers.

Read are: ``Transformer`` or ``MLMTransformer`` with ``SpladePooling`` (siamese), a ``Router`` of
such chains or of ``SparseStaticEmbedding`` (inference-free), and a ``SparseStaticEmbedding``
alone (a query side). Modules are told by their class name, so that the paths of all releases do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lsr.core.errors import ModelFormatError
from lsr.encoders.base import Encoder, QueryEncoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.hf_models import read_json
from lsr.encoders.inference_free import DEFAULT_MAX_LENGTH, LookupQueryEncoder
from lsr.encoders.tokenization import TextTokenizer

if TYPE_CHECKING:
    from lsr.encoders.splade import MaskedLMEncoder

__all__ = ["read_sparse_encoder"]

_TRANSFORMER_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
_LSR_CONFIG = "lsr_config.json"


def read_sparse_encoder(
    path: Path, *, device: str | None = None, dtype: str | None = None
) -> Encoder | QueryEncoder:
    """Return the encoder of a folder with ``modules.json``.

    Raises
    ------
    ModelFormatError
        If it is made of modules that are not read, or compares vectors other than by dot product.
    """
    reader = _Reader(path, device=device, dtype=dtype)
    return reader.read()


class _Reader:
    def __init__(self, path: Path, *, device: str | None, dtype: str | None) -> None:
        self.path = path
        self.device = device
        self.dtype = dtype
        config_file = path / "config_sentence_transformers.json"
        config = read_json(config_file) if config_file.is_file() else {}
        own = path / _LSR_CONFIG
        self.own: dict[str, Any] = read_json(own) if own.is_file() else {}
        self.name = str(self.own.get("name") or path.resolve().name)
        similarity = config.get("similarity_fn_name")
        if similarity not in (None, "dot"):
            raise ModelFormatError(
                f"{path} compares vectors by {similarity!r}; indexes here score by dot product."
            )
        prompts = dict(config.get("prompts") or {})
        default = prompts.get(config.get("default_prompt_name"), "")
        self.query_prompt = str(prompts.get("query", default) or "")
        names = [n for n in ("document", "passage", "corpus") if n in prompts]
        self.document_prompt = str((prompts[names[0]] if names else default) or "")
        self.max_active_dims: int | None = config.get("max_active_dims")

    def read(self) -> Encoder | QueryEncoder:
        modules = [
            (_class_name(m["type"]), self.path / m["path"])
            for m in read_json(self.path / "modules.json")
        ]
        if [name for name, _ in modules] in (["Router"], ["Asym"]):
            return self._router(modules[0][1])
        return self._chain(modules, "both")

    def _router(self, folder: Path) -> Encoder:
        config = read_json(folder / "router_config.json")
        routes = {
            route: [(_class_name(config["types"][name]), folder / name) for name in names]
            for route, names in config["structure"].items()
        }
        if not {"query", "document"} <= set(routes):
            raise ModelFormatError(
                f"{self.path} routes {sorted(routes)}; needed are 'query' and 'document'."
            )
        document = self._chain(routes["document"], "document")
        if not isinstance(document, Encoder):
            raise ModelFormatError(
                f"{self.path} encodes documents by a table; that is no retrieval model."
            )
        query = self._chain(routes["query"], "query")
        if isinstance(query, LookupQueryEncoder):
            query = query.resized(len(document.vocabulary))
        return ComposedEncoder(query, document, name=self.name)

    def _chain(
        self, modules: list[tuple[str, Path]], side: Literal["both", "query", "document"]
    ) -> Encoder | QueryEncoder:
        names = [name for name, _ in modules]
        if names == ["SparseStaticEmbedding"]:
            return self._table(modules[0][1])
        if names in (["Transformer", "SpladePooling"], ["MLMTransformer", "SpladePooling"]):
            return self._masked_lm(modules[0][1], modules[1][1], side)
        raise ModelFormatError(
            f"{self.path} is made of {' + '.join(names) or 'no modules'}, which is not read.",
            hint="Read are masked-LM Transformers with SpladePooling, SparseStaticEmbedding, and "
            "Routers of them.",
        )

    def _table(self, folder: Path) -> LookupQueryEncoder:
        import numpy as np
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        config = read_json(folder / "config.json")
        tokenizer = TextTokenizer.from_folder(folder)
        options: dict[str, Any] = {
            "name": str(self.own.get("query_name") or self.name),
            "max_length": int(
                self.own.get("query_max_length") or tokenizer.max_length or DEFAULT_MAX_LENGTH
            ),
        }
        if "path" in config:
            idf = read_json(folder / str(config["path"]))
            made = LookupQueryEncoder.from_idf(tokenizer, idf, **options)
            made.prompt = self.query_prompt
            return made
        try:
            weights = load_file(folder / "model.safetensors")["weight"].astype(np.float32)
        except (SafetensorError, OSError, KeyError) as error:
            raise ModelFormatError(
                f"{folder} has no readable table in model.safetensors: {error}."
            ) from error
        return LookupQueryEncoder(
            tokenizer.resized(len(weights)),
            weights,
            idf=self.own.get("idf", "query"),
            prompt=self.query_prompt,
            term_frequency=self.own.get("query_term_frequency", "presence"),
            **options,
        )

    def _masked_lm(
        self, transformer: Path, pooling: Path, side: Literal["both", "query", "document"]
    ) -> MaskedLMEncoder:
        from lsr.encoders.batched import TextOptions
        from lsr.encoders.splade import MaskedLMEncoder

        configs = [transformer / name for name in _TRANSFORMER_CONFIGS]
        found = next((file for file in configs if file.is_file()), None)
        config = read_json(found) if found is not None else {}
        task = config.get("transformer_task", "fill-mask")
        if task != "fill-mask":
            raise ModelFormatError(f"{transformer} is a {task!r} model, not a masked-LM.")
        pool = read_json(pooling / "config.json")
        saturations = {"relu": 1, "log1p_relu": 2}
        activation = pool.get("activation_function", "relu")
        if activation not in saturations:
            raise ModelFormatError(f"{pooling}: unknown activation {activation!r}.")
        encoder = MaskedLMEncoder.from_folder(
            transformer,
            pooling=pool.get("pooling_strategy", "max"),
            saturation=saturations[activation],
            lower_case=bool(config.get("do_lower_case", False)),
            name=self.name if side == "both" else f"{self.name}/{side}",
            device=self.device,
            dtype=self.dtype,
        )
        limit = encoder.options.document_max_length
        limit = min(limit, int(config.get("max_seq_length") or limit))
        encoder.options = TextOptions(
            query_max_length=min(limit, int(self.own.get("query_max_length") or limit)),
            document_max_length=min(limit, int(self.own.get("document_max_length") or limit)),
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
            max_active_dims=self.max_active_dims,
        )
        return encoder


def _class_name(reference: str) -> str:
    return reference.rsplit(".", 1)[-1]
