"""The encoders that a service encodes documents with, apart from those that answer queries.

A collection carries the query side of its encoder. The document side, often a model, is named in
the service's settings, so that no request can make the service load what its operator did not
allow. Models run in a process of their own, one an encoder, started when the first document comes:
searches share no interpreter lock with them, and a service whose queries are looked up never
imports torch.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from indexing.dense_encoder import DenseEncoder
from lsr.core.errors import ArgumentError, EncoderError, near_names
from lsr.core.origins import Origins
from lsr.core.sparse import Float32Array, SparseMatrix
from lsr.encoders.base import Encoder, IdfConvention
from lsr.encoders.folder import ENCODER_NAME, EncoderFolder
from lsr.encoders.loading import known_names, load_encoder
from lsr.encoders.tracing import tracing

__all__ = [
    "DenseDocumentEncoder",
    "DocumentEncoder",
    "DocumentEncoders",
    "EncoderSide",
    "named_encoders",
    "named_paths",
]

T = TypeVar("T")
logger = logging.getLogger(__name__)


class DocumentEncoder(Protocol):
    """What turns documents into vectors; `lsr.encoders.base.Encoder` does."""

    def encode_documents(self, texts: Sequence[str]) -> SparseMatrix:
        """Return one row a text, in their order."""


class DenseDocumentEncoder(Protocol):
    """What turns documents into dense vectors; `indexing.dense_encoder.DenseEncoder` does."""

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return one row a text, in their order."""


class EncoderSide(NamedTuple):
    """What a collection must know of the encoder that its documents are encoded with."""

    name: str
    fingerprint: str
    idf: IdfConvention


def named_encoders(given: Sequence[str]) -> dict[str, str]:
    """Return the encoders that collections may be made with: those that ship, and `given`.

    Parameters
    ----------
    given : sequence of str
        ``NAME=PATH``, or a path whose last part is the name, or the name of one that ships.
    """
    shipped = {name: name for name in known_names() if name != "lexical"}
    return {**shipped, **named_paths(given)}


def named_paths(given: Sequence[str]) -> dict[str, str]:
    """Return paths by name: ``NAME=PATH``, or a path whose last part is the name."""
    named = {}
    for entry in given:
        name, equals, path = entry.partition("=")
        named[name if equals else Path(entry).name] = path if equals else entry
    return named


@cache
def _loaded(source: str) -> Encoder:
    encoder = load_encoder(source)
    if not isinstance(encoder, Encoder):
        raise EncoderError(
            f"{source} holds a query side only, which encodes no documents.",
            hint="Name the folder of the whole encoder.",
        )
    return encoder


def _save_side(source: str, out: Path, positions: bool) -> EncoderSide:
    encoder = _loaded(source)
    if positions:
        try:
            tracing(encoder)
        except EncoderError as error:
            raise ArgumentError(f"positions: {error.message}", hint=error.hint) from None
    encoder.save_query_side(out)
    return EncoderSide(encoder.name, encoder.fingerprint, encoder.idf)


def _held(source: str, fingerprint: str) -> Encoder:
    encoder = _loaded(source)
    if encoder.fingerprint != fingerprint:
        raise EncoderError(
            f"The encoder at {source} is not the one that the collection was made with.",
            hint="Start the service with the encoder of that time, or make a new collection.",
        )
    return encoder


def _encode(source: str, fingerprint: str, texts: Sequence[str]) -> SparseMatrix:
    return _held(source, fingerprint).encode_documents(texts)


def _trace(source: str, fingerprint: str, texts: Sequence[str]) -> tuple[SparseMatrix, Origins]:
    return tracing(_held(source, fingerprint))(texts)


_DENSE: dict[str, DenseEncoder] = {}


def _encode_dense(path: str, fingerprint: str, texts: Sequence[str]) -> Float32Array:
    # By fingerprint: collections carry copies of one model.
    if fingerprint not in _DENSE:
        encoder = DenseEncoder(Path(path))
        if encoder.fingerprint != fingerprint:
            raise EncoderError(
                f"The bi-encoder at {path} is not the one that the collection was made with.",
                hint="Restore the collection from a snapshot.",
            )
        _DENSE[fingerprint] = encoder
    return _DENSE[fingerprint].encode(texts)


def _begin_process() -> None:
    # Ctrl-C reaches the whole group; the service decides when its encoders end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    # A killed service must not leave models behind.
    threading.Thread(target=follow, daemon=True).start()


def _named(name: str, sources: Mapping[str, str], what: str, option: str) -> str:
    if name not in sources:
        known = ", ".join(sorted(sources)) or "none"
        raise ArgumentError(
            f"The service has no {what} {name!r} (it has: {known}).{near_names(name, sources)}",
            hint=f"They are named when the service starts: {option} NAME=PATH.",
        )
    return sources[name]


class DocumentEncoders:
    """Runs the encoders of a service; may be called from many threads.

    Parameters
    ----------
    sources : mapping of str to str
        What `load_encoder` takes, by the name that requests use.
    dense : mapping of str to str
        Folders of the bi-encoders that collections may be given, by name.
    """

    def __init__(self, sources: Mapping[str, str], dense: Mapping[str, str] | None = None) -> None:
        self._sources = dict(sources)
        self._dense = dict(dense or {})
        self._executors: dict[str, Executor] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return sorted(self._sources)

    @property
    def dense_names(self) -> list[str]:
        """The names of the bi-encoders, in order."""
        return sorted(self._dense)

    def require(self, name: str) -> str:
        """Return the source of a name.

        Raises
        ------
        ArgumentError
            If the settings do not allow it.
        """
        return _named(name, self._sources, "encoder", "--encoder")

    def require_dense(self, name: str) -> DenseEncoder:
        """Return the bi-encoder of a name, nothing of its model loaded.

        Raises
        ------
        ArgumentError
            If the settings do not allow it.
        EncoderError
            If there is none at its place.
        """
        return DenseEncoder(Path(_named(name, self._dense, "dense encoder", "--dense-encoder")))

    def save_query_side(self, name: str, out: Path, *, positions: bool) -> EncoderSide:
        """Write the query side into the new folder `out`, and return what names the encoder.

        Raises
        ------
        ArgumentError
            If there is no such encoder, or it keeps no positions and `positions` are wanted.
        EncoderError
            If it cannot be loaded.
        """
        source = self.require(name)
        return self._run(name, _is_light(source), _save_side, source, out, positions)

    def bound(self, name: str, fingerprint: str) -> DocumentEncoder | None:
        """Return the encoder `name`, held to a fingerprint; None if the settings lack it."""
        return _Bound(self, name, fingerprint) if name in self._sources else None

    def run_held(
        self,
        name: str,
        work: Callable[[str, str, Sequence[str]], T],
        fingerprint: str,
        texts: Sequence[str],
    ) -> T:
        """Return what `work` returns where the encoder is, given its source.

        Raises
        ------
        EncoderError
            If the encoder is another one than `fingerprint` says, or cannot do it.
        """
        source = self.require(name)
        return self._run(name, _is_light(source), work, source, fingerprint, list(texts))

    def bound_dense(self, path: Path, name: str, fingerprint: str) -> DenseDocumentEncoder:
        """Return the bi-encoder that a collection carries at `path`, held to a fingerprint.

        It runs in one process for all collections that carry the same.
        """
        return _BoundDense(self, path, name, fingerprint)

    def run_dense(
        self, path: Path, name: str, fingerprint: str, texts: Sequence[str]
    ) -> Float32Array:
        """Return what the bi-encoder makes of texts; raises EncoderError if it cannot."""
        key = f"{name}-{fingerprint[:12]}"
        return self._run(key, False, _encode_dense, str(path), fingerprint, list(texts))

    def _run(self, name: str, light: bool, work: Callable[..., T], *args: object) -> T:
        executor = self._executor(name, light=light)
        try:
            return executor.submit(work, *args).result()
        except BrokenProcessPool as error:
            with self._lock:
                if self._executors.get(name) is executor:
                    del self._executors[name]
            raise EncoderError(
                f"The process of the encoder {name!r} ended while it worked.",
                hint="It may have run out of memory; it is started again by the next document.",
            ) from error

    def _executor(self, name: str, *, light: bool) -> Executor:
        with self._lock:
            executor = self._executors.get(name)
            if executor is None:
                if light:
                    executor = ThreadPoolExecutor(1, thread_name_prefix=f"lsr-documents-{name}")
                else:
                    logger.info("Starting a process for the encoder %s", name)
                    executor = ProcessPoolExecutor(
                        1, mp_context=get_context("spawn"), initializer=_begin_process
                    )
                self._executors[name] = executor
            return executor

    def close(self) -> None:
        """Finish what runs and end the processes."""
        with self._lock:
            executors = list(self._executors.values())
            self._executors.clear()
        for executor in executors:
            executor.shutdown(cancel_futures=True)


class _Bound:
    def __init__(self, encoders: DocumentEncoders, name: str, fingerprint: str) -> None:
        self._encoders = encoders
        self._name = name
        self._fingerprint = fingerprint

    @property
    def name(self) -> str:
        return self._name

    def encode_documents(self, texts: Sequence[str]) -> SparseMatrix:
        return self._encoders.run_held(self._name, _encode, self._fingerprint, texts)

    def encode_with_origins(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> tuple[SparseMatrix, Origins]:
        return self._encoders.run_held(self._name, _trace, self._fingerprint, texts)


class _BoundDense:
    def __init__(self, encoders: DocumentEncoders, path: Path, name: str, fingerprint: str) -> None:
        self._encoders = encoders
        self._path = path
        self._name = name
        self._fingerprint = fingerprint

    def encode(self, texts: Sequence[str]) -> Float32Array:
        return self._encoders.run_dense(self._path, self._name, self._fingerprint, texts)


def _is_light(source: str) -> bool:
    """Return whether an encoder counts words: too little work for a process of its own."""
    path = Path(source)
    return (path / ENCODER_NAME).is_file() and EncoderFolder(path).kind == "lexical"
