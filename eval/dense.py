"""Dense retrieval, to compare with and to mix with: a bi-encoder and faiss.

`DenseEncoder` reads sentence-transformers folders of the plain kind (a transformer, mean or
first-token pooling, optional normalisation) with transformers alone. `DenseIndex` is faiss: flat
(exact) or HNSW.

References
----------
Reimers & Gurevych, *Sentence-BERT*, EMNLP 2019 (pooling); Malkov & Yashunin, *Efficient and
Robust Approximate Nearest Neighbor Search Using HNSW Graphs*, TPAMI 2020 (m, ef).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from indexing.base import BatchResult
from lsr.core.errors import (
    DataError,
    EncoderNotFoundError,
    MissingDependencyError,
    ModelFormatError,
)
from lsr.core.sparse import Float32Array, Int32Array

__all__ = ["DenseEncoder", "DenseIndex", "DenseTextEncoder"]

Pooling = Literal["mean", "cls"]


class DenseTextEncoder(Protocol):
    """What dense systems need of an encoder."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def fingerprint(self) -> str:
        """Hash over everything that decides its vectors."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        advance: Callable[[int], None] | None = None,
    ) -> Float32Array:
        """Return one row a text, shape ``(n, width)``, in their order."""


class DenseEncoder:
    """A bi-encoder with one model for queries and documents.

    Parameters
    ----------
    path : Path
        A sentence-transformers folder, or a plain transformers one (then: mean pooling,
        normalised, as most of these models are used).

    Raises
    ------
    EncoderNotFoundError
        If there is no such folder.
    ModelFormatError
        If it has modules that this class does not know.
    MissingDependencyError
        If torch or transformers is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "config.json").is_file():
            raise EncoderNotFoundError(
                f"No dense encoder at {self.path}: it has no config.json.", hint="Check the path."
            )
        self.pooling, self.normalise = _read_modules(self.path)
        self.max_tokens = int(
            _read_json(self.path / "sentence_bert_config.json").get("max_seq_length") or 512
        )

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the folder's model and tokenizer files."""
        digest = hashlib.sha256()
        for file in sorted(self.path.rglob("*")):
            if file.is_file() and file.suffix in (".json", ".safetensors", ".txt", ".model"):
                digest.update(file.relative_to(self.path).as_posix().encode())
                with open(file, "rb") as stream:
                    while chunk := stream.read(1 << 22):
                        digest.update(chunk)
        return digest.hexdigest()

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise MissingDependencyError(
                str(error.name), extra="models", purpose="A dense encoder"
            ) from None
        # Its own bar would show under --quiet and in pipes.
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(self.path))
        model = transformers.AutoModel.from_pretrained(str(self.path), use_safetensors=True).eval()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch, tokenizer, model.to(device)

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        advance: Callable[[int], None] | None = None,
    ) -> Float32Array:
        """Return one float32 row a text, shape ``(n, width)``, in their order."""
        torch, tokenizer, model = self._parts
        rows: Float32Array = np.empty((len(texts), int(model.config.hidden_size)), dtype=np.float32)
        # Sorted by length, so that a batch is padded little; the order is restored by `rows[at]`.
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        for start in range(0, len(order), batch_size):
            at = order[start : start + batch_size]
            batch = tokenizer(
                [texts[i] for i in at],
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                states = model(**batch).last_hidden_state
                if self.pooling == "cls":
                    pooled = states[:, 0]
                else:
                    mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
                    pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
                if self.normalise:
                    pooled = torch.nn.functional.normalize(pooled, dim=1)
            rows[at] = pooled.float().cpu().numpy()
            if advance is not None:
                advance(len(at))
        return rows


class DenseIndex:
    """A faiss index over inner products.

    Parameters
    ----------
    vectors : float32, shape (n, width)
        Row by row the documents.
    kind : {"flat", "hnsw"}
        Exact, or a graph.
    m, ef_construction, ef_search : int
        Of the graph. Higher: better recall; more memory (m), build time, search time.

    Raises
    ------
    MissingDependencyError
        If faiss is not installed.
    DataError
        If there are no vectors.
    """

    def __init__(
        self,
        vectors: Float32Array,
        *,
        kind: Literal["flat", "hnsw"] = "flat",
        m: int = 32,
        ef_construction: int = 200,
        ef_search: int = 128,
    ) -> None:
        try:
            import faiss
        except ImportError:
            raise MissingDependencyError("faiss", extra="eval", purpose="Dense retrieval") from None
        if vectors.ndim != 2 or len(vectors) == 0:
            raise DataError(f"A dense index needs rows of vectors, got shape {vectors.shape}.")
        self._faiss = faiss
        self.kind = kind
        self.n_documents = len(vectors)
        if kind == "flat":
            self._index: Any = faiss.IndexFlatIP(vectors.shape[1])
        else:
            self._index = faiss.IndexHNSWFlat(vectors.shape[1], m, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efConstruction = ef_construction
            self._index.hnsw.efSearch = ef_search
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def search_batch(self, queries: Float32Array, k: int, *, n_threads: int = 1) -> BatchResult:
        """Return the best `k` rows of every query: score descending, then row ascending.

        Negative inner products are results too, unlike in a sparse index.
        """
        self._faiss.omp_set_num_threads(n_threads)
        depth = min(k, self.n_documents)
        scores, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), depth)
        order = np.lexsort((rows, -scores), axis=1)
        rows = np.take_along_axis(rows, order, axis=1).astype(np.int32)
        scores = np.take_along_axis(scores, order, axis=1)
        # The graph may find fewer: faiss marks them with -1, and they belong at the end.
        missing = rows < 0
        if missing.any():
            last = np.argsort(missing, axis=1, kind="stable")
            rows = np.take_along_axis(rows, last, axis=1)
            scores = np.take_along_axis(np.where(missing, 0, scores), last, axis=1)
        return BatchResult(rows, scores.astype(np.float32))

    def search(self, query: Float32Array, k: int) -> tuple[Int32Array, Float32Array]:
        """Return rows and scores of one query, on the calling thread."""
        found = self.search_batch(query[None], k)
        return found[0]

    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of the vectors, and of the graph if there is one."""
        total = len(self._faiss.serialize_index(self._index))
        vectors = self.n_documents * self._index.d * 4
        return (
            {"vectors": vectors, "graph": max(0, total - vectors)}
            if self.kind == "hnsw"
            else {"vectors": vectors}
        )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _read_modules(path: Path) -> tuple[Pooling, bool]:
    file = path / "modules.json"
    if not file.is_file():
        return "mean", True
    pooling: Pooling = "mean"
    normalise = False
    for module in json.loads(file.read_text(encoding="utf-8")):
        kind = str(module["type"]).rsplit(".", 1)[-1]
        if kind == "Normalize":
            normalise = True
        elif kind == "Pooling":
            config = _read_json(path / module["path"] / "config.json")
            # Older folders have one flag a mode, newer ones a name.
            chosen = (
                [config["pooling_mode"]]
                if "pooling_mode" in config
                else [
                    key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
                    for key, on in config.items()
                    if key.startswith("pooling_mode_") and on is True
                ]
            )
            if chosen == ["cls"]:
                pooling = "cls"
            elif chosen != ["mean"]:
                raise ModelFormatError(
                    f"{path} pools by {' and '.join(map(str, chosen)) or 'nothing known'}; "
                    "known are mean and cls."
                )
        elif kind != "Transformer":
            raise ModelFormatError(f"{path} has the module {kind!r}, which is not known here.")
    return pooling, normalise
