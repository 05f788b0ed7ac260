"""A small index on disk, and the service over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from indexing.build import build_index
from indexing.config import IndexConfig
from lsr.core.config import load_config
from lsr.core.records import Document
from lsr.encoders.encode import encode_collection
from lsr.encoders.lexical import LexicalEncoder
from serving.app import create_app
from serving.engine import Engine
from serving.settings import IndexSource, ServeSettings

DOCUMENTS = [
    Document(
        "bowl",
        "CBS broadcast Super Bowl 50 in the U.S.; the network charged $5 million for an advert.",
        "Super Bowl 50",
        {"year": 2016, "tags": ["sport"]},
    ),
    Document("tesla", "Tesla moved to New York and worked for Edison Machine Works.", "Tesla"),
    Document("norm/ans", "The Normans gave their name to Normandy, a region in France.", "Normans"),
    Document("emoji", "🏈 Fans of the super game came from 𝕊tanford.", ""),
    Document("edison", "Edison lit New York with a network of direct current.", "Edison"),
]


@pytest.fixture(autouse=True, scope="session")
def _no_serve_environment() -> None:
    for name in [name for name in os.environ if name.startswith("LSR_SERVE_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def encoder() -> LexicalEncoder:
    return LexicalEncoder.fit(document.content for document in DOCUMENTS)


@pytest.fixture(scope="session")
def index_path(tmp_path_factory: pytest.TempPathFactory, encoder: LexicalEncoder) -> Path:
    """An exact index of `DOCUMENTS`; never write into it."""
    root = tmp_path_factory.mktemp("serving")
    encode_collection(encoder, DOCUMENTS, root / "vectors")
    build_index(root / "vectors", root / "index", corpus=DOCUMENTS).close()
    return root / "index"


@pytest.fixture(scope="session")
def pruned_path(tmp_path_factory: pytest.TempPathFactory, encoder: LexicalEncoder) -> Path:
    """A Seismic index of `DOCUMENTS` that lost most of its postings: it misses results."""
    root = tmp_path_factory.mktemp("pruned")
    encode_collection(encoder, DOCUMENTS, root / "vectors")
    pruning = {"kind": "cap", "n_postings": 1}
    config = load_config(IndexConfig, values={"layout": {"kind": "seismic", "pruning": pruning}})
    build_index(root / "vectors", root / "index", config, corpus=DOCUMENTS).close()
    return root / "index"


@pytest.fixture
def engine(index_path: Path) -> Iterator[Engine]:
    made = Engine.open(index_path, name="toy")
    yield made
    made.close()


@pytest.fixture(scope="session")
def settings() -> ServeSettings:
    return ServeSettings(threads=2, allowed_hosts=("testserver",))


@contextmanager
def _running(settings: ServeSettings, sources: list[IndexSource]) -> Iterator[TestClient]:
    # Errors of the service come back as answers, as they would over the network.
    with TestClient(create_app(settings, sources), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def client(index_path: Path, pruned_path: Path, settings: ServeSettings) -> Iterator[TestClient]:
    """The service over "toy" and "pruned", one for the tests of a module."""
    sources = [IndexSource("toy", index_path), IndexSource("pruned", pruned_path)]
    with _running(settings, sources) as made:
        yield made


@pytest.fixture
def fresh_client(index_path: Path, settings: ServeSettings) -> Iterator[TestClient]:
    """The service over "toy", that nobody asked anything yet."""
    with _running(settings, [IndexSource("toy", index_path)]) as made:
        yield made
