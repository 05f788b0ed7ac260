"""A small encoded collection and its exact index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsr.core.records import Document
from lsr.core.vocabulary import Vocabulary
from lsr.data.vectors import write_vectors
from tests.helpers.strategies import random_matrix

N_TERMS = 40
VOCABULARY = Vocabulary(f"t{n}" for n in range(N_TERMS))


@pytest.fixture
def corpus() -> list[Document]:
    return [Document(f"doc-{n}", f"text of {n}", f"title {n}") for n in range(30)]


@pytest.fixture
def vectors(rng: np.random.Generator, tmp_path: Path, corpus: list[Document]) -> Path:
    """An encoded collection of 30 documents in two shards, with a query side."""
    matrix = random_matrix(rng, 30, N_TERMS, 8)
    ids = [document.doc_id for document in corpus]
    side = tmp_path / "side"
    side.mkdir()
    (side / "lsr_encoder.json").write_text("{}")
    parts = [(matrix.rows(0, 17), ids[:17]), (matrix.rows(17, 30), ids[17:])]
    path = tmp_path / "vectors"
    write_vectors(path, parts, VOCABULARY, encoder="test", idf="query", query_encoder=side)
    return path
