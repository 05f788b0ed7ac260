"""One collection of a suite with all that is made from it: vectors, embeddings, indexes.

Everything expensive is an entry of the cache, made on first use.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.cache import Cache, content_hash, folder_hash, texts_hash
from eval.evaluate import EvalConfig, SearchTarget
from eval.results import Efficiency
from eval.suite import Collection
from eval.systems import DenseSystem, SparseSystem
from eval.topics import Topics, load_topics
from lsr.core import console
from lsr.core.errors import DatasetNotFoundError
from lsr.core.manifest import describe_machine, lsr_version
from lsr.core.records import Query
from lsr.core.sparse import Float32Array
from lsr.data import Dataset, VectorCollection, load_dataset, open_vectors

if TYPE_CHECKING:
    from indexing.dense_encoder import DenseEncoder

__all__ = ["BenchOptions", "Workbench", "resolve_model"]

logger = logging.getLogger(__name__)

_PART = 1024
"""Texts encoded at a time: what an interruption can cost; on a slow machine minutes."""


@dataclass(frozen=True)
class BenchOptions:
    """What changes speed and places, never scores.

    Attributes
    ----------
    cache : Path
        See `eval.cache`.
    models : Path, optional
        A folder with model folders; an encoder's name is looked for there first.
    fresh : bool
        Search and time anew.
    timing : bool
        Measure latency, throughput and memory.
    """

    cache: Path
    models: Path | None = None
    fresh: bool = False
    timing: bool = True
    n_threads: int | None = None
    batch_size: int = 32


def resolve_model(name: str, models: Path | None) -> str:
    """Return the folder of a model below `models` if it is there, else `name`."""
    if models is not None and (models / name / "config.json").is_file():
        return str(models / name)
    return name


class Workbench:
    """A collection, opened.

    Parameters
    ----------
    collection : Collection
        From a suite.
    options : BenchOptions
        Places and speed.

    Raises
    ------
    DatasetNotFoundError
        If neither of the collection's sources is there.
    """

    def __init__(self, collection: Collection, options: BenchOptions) -> None:
        self.collection = collection
        self.options = options
        self.cache = Cache(options.cache, fresh=options.fresh)
        self.dataset = _open(collection)

    @property
    def config(self) -> EvalConfig:
        """How the collection is scored and timed."""
        collection = self.collection
        return EvalConfig(
            split=collection.split,
            measures=collection.measures,
            k=collection.k,
            drop_self=collection.drop_self,
            timing=self.options.timing,
        )

    @cached_property
    def topics(self) -> Topics:
        """The judged queries."""
        return load_topics(self.dataset, self.collection.split)

    @cached_property
    def documents_hash(self) -> str:
        """Over ids and texts of all documents."""
        total = self.dataset.n_documents()
        with console.progress_bar(f"Reading {self.collection.name}", total) as advance:
            return texts_hash(self.dataset.documents(), advance)

    @cached_property
    def queries_hash(self) -> str:
        """Over ids and texts of the judged queries."""
        pairs = zip(self.topics.query_ids, self.topics.texts, strict=True)
        return texts_hash(Query(query_id, text) for query_id, text in pairs)

    @cached_property
    def doc_ids(self) -> list[str]:
        """Ids in the order of the documents, which is the order of rows."""
        return [document.doc_id for document in self.dataset.documents()]

    def texts(self, doc_ids: Iterable[str]) -> dict[str, str]:
        """Return the contents of a few documents, in one pass; those the collection has."""
        wanted = set(doc_ids)
        found: dict[str, str] = {}
        for document in self.dataset.documents():
            if document.doc_id in wanted:
                found[document.doc_id] = document.content
                if len(found) == len(wanted):
                    break
        return found

    def encoder_key(self, spec: str) -> str:
        """Return a hash over what decides an encoder's vectors."""
        path = Path(spec)
        if path.is_dir():
            return content_hash({"folder": folder_hash(path), "lsr": lsr_version()})
        if spec == "lexical":
            from lsr.encoders import LexicalConfig

            config = LexicalConfig().model_dump(mode="json")
            return content_hash({"lexical": config, "lsr": lsr_version()})
        from lsr.encoders import load_encoder

        return load_encoder(spec).fingerprint[:24]

    def vectors(self, encoder: str) -> VectorCollection:
        """Return the collection encoded; its query side is beside it."""
        from lsr.encoders import EncodeConfig, encode_collection, prepare_encoder

        spec = resolve_model(encoder, self.options.models)
        path = self._vectors_path(encoder)
        if not path.exists():
            total = self.dataset.n_documents()
            model = prepare_encoder(
                spec,
                lambda: (
                    d.content
                    for d in console.track(self.dataset.documents(), f"Fitting {encoder}", total)
                ),
            )
            label = f"Encoding {self.collection.name} with {encoder}"
            logger.info("%s", label)
            with console.progress_bar(label, total, unit="documents") as advance:
                encode_collection(
                    model,
                    self.dataset.documents(),
                    path,
                    config=EncodeConfig(shard_size=_PART),
                    batch_size=self.options.batch_size,
                    source=self.dataset.name,
                    advance=advance,
                )
        return open_vectors(path)

    def is_encoded(self, system: SparseSystem | DenseSystem) -> bool:
        """Return whether the cache holds the collection encoded for a system."""
        if isinstance(system, DenseSystem):
            return (self._embeddings_path(system.encoder) / "done").is_file()
        return self._vectors_path(system.encoder).exists()

    def _vectors_path(self, encoder: str) -> Path:
        spec = resolve_model(encoder, self.options.models)
        key = content_hash({"encoder": self.encoder_key(spec), "texts": self.documents_hash})
        return self.cache.folder("vectors", key)

    def _embeddings_path(self, encoder: str) -> Path:
        model = self.dense_encoder(encoder).fingerprint
        key = content_hash({"encoder": model, "texts": self.documents_hash, "lsr": lsr_version()})
        return self.cache.folder("dense", key)

    def sparse_target(self, system: SparseSystem) -> SearchTarget:
        """Return the index of a sparse system, with its query side."""
        from indexing import IndexFolder, build_index
        from lsr.core.config import config_hash
        from lsr.encoders import load_encoder

        vectors = self.vectors(system.encoder)
        scale = system.impact_scale
        if scale is not None:
            vectors = self._impacts(vectors, scale)
        key = content_hash({"vectors": vectors.path.name, "index": config_hash(system.index)})
        path = self.cache.folder("indexes", key)
        if not path.exists():
            logger.info("Indexing %s for %s", self.collection.name, system.name)
            build_index(vectors.path, path, system.index, n_threads=self.options.n_threads).close()
        folder = IndexFolder.open(path)
        # The query side of a masked LM is the model itself; load it from where it came.
        encoder = load_encoder(str(folder.query_encoder_path))
        return SearchTarget(
            system.name,
            folder.index,
            list(folder.doc_ids),
            encoder,
            vectors=vectors.shards,
            known=Efficiency(
                index_bytes=folder.index.bytes_by_part(),
                build_s=folder.manifest.details["build_s"],
                encode_documents_per_s=_rate_here(vectors),
            ),
            impact_scale=scale,
        )

    def _impacts(self, vectors: VectorCollection, scale: float) -> VectorCollection:
        """Return encoded documents as whole numbers: those of the file that Lucene is given."""
        from lsr.data.interchange import export_vectors, import_vectors, require_format

        key = content_hash({"vectors": vectors.path.name, "impacts": scale})
        path = self.cache.folder("vectors", key)
        if not path.exists():
            form = require_format("anserini")
            with tempfile.TemporaryDirectory(dir=path.parent) as work:
                exported = Path(work) / "documents.jsonl"
                export_vectors(vectors, exported, form, scale=scale)
                import_vectors(
                    exported,
                    path,
                    form,
                    vocabulary=vectors.vocabulary,
                    query_encoder=vectors.query_encoder_path,
                )
        return open_vectors(path)

    def dense_encoder(self, encoder: str) -> DenseEncoder:
        """Return the dense encoder of a name."""
        from indexing.dense_encoder import DenseEncoder

        return DenseEncoder(Path(resolve_model(encoder, self.options.models)))

    def embeddings(self, encoder: str) -> tuple[Float32Array, Float32Array, float | None]:
        """Return document rows, query rows, and documents a second when they were encoded.

        The rate is None where it is unknown: vectors brought from another machine have an empty
        ``done``.
        """
        model = self.dense_encoder(encoder)
        path = self._embeddings_path(encoder)
        done = path / "done"
        if not done.is_file():
            path.mkdir(exist_ok=True)
            texts = [document.content for document in self.dataset.documents()]
            label = f"Embedding {self.collection.name} with {encoder}"
            rate = self._embed(model, texts, path / "documents.npy", label)
            done.write_text("" if rate is None else repr(rate))
        asked = path / f"queries-{self.queries_hash}.npy"
        if not asked.is_file():
            label = f"Embedding the queries of {self.collection.name} with {encoder}"
            self._embed(model, self.topics.texts, asked, label)
        found = done.read_text().strip()
        return np.load(path / "documents.npy"), np.load(asked), float(found) if found else None

    def _embed(
        self, model: DenseEncoder, texts: list[str], target: Path, label: str
    ) -> float | None:
        """Write the rows of texts, part by part; return texts a second unless it was resumed."""
        logger.info("%s", label)
        parts = target.with_suffix(".parts")
        parts.mkdir(exist_ok=True)
        names = [parts / f"{at:09d}.npy" for at in range(0, len(texts), _PART)]
        resumed = any(name.is_file() for name in names)
        started = time.perf_counter()
        with console.progress_bar(label, len(texts), unit="texts") as advance:
            for at, name in enumerate(names):
                part = texts[at * _PART : (at + 1) * _PART]
                if name.is_file():
                    advance(len(part))
                    continue
                rows = model.encode(part, batch_size=self.options.batch_size, advance=advance)
                _save(name, rows)
        seconds = time.perf_counter() - started
        _save(target, np.concatenate([np.load(name) for name in names]))
        shutil.rmtree(parts)
        return None if resumed else len(texts) / seconds


def _open(collection: Collection) -> Dataset:
    try:
        return load_dataset(collection.source)
    except DatasetNotFoundError:
        if not collection.otherwise:
            raise
        return load_dataset(collection.otherwise)


def _rate_here(vectors: VectorCollection) -> float | None:
    """Return documents a second of the encoding; None if it was not made here."""
    made = vectors.manifest
    if "encoding" not in made.details or made.machine.processor != describe_machine().processor:
        return None
    return float(made.details["encoding"]["documents_per_s"])


def _save(path: Path, rows: Float32Array) -> None:
    partial = path.with_suffix(".partial.npy")
    np.save(partial, rows)
    partial.replace(path)
