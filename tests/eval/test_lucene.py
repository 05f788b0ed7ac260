"""Against the real Lucene; skipped where pyserini is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from eval.evaluate import load_topics
from eval.impacts import quantise, write_impacts
from eval.lucene import (
    LuceneSearcher,
    index_impacts,
    index_texts,
    search_impacts,
    search_texts,
)
from indexing.exact import ExactIndex
from lsr.core.sparse import SparseMatrix
from lsr.core.vocabulary import Vocabulary
from tests.helpers.evaluation import DOCUMENTS, SmallDataset

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyserini") is None, reason="pyserini is not installed"
)


def test_bm25_in_a_process_and_inside_agree(tmp_path: Path) -> None:
    topics = load_topics(SmallDataset())
    index, _ = index_texts(iter(DOCUMENTS), tmp_path / "bm25", n_threads=1)
    run = search_texts(index, topics, 10, tmp_path / "search", n_threads=1)
    assert run.results("q2")[0] == ["d3", "d4"]
    searcher = LuceneSearcher(index, "bm25")
    found = searcher.search("river stones", 10)
    docs, scores = run.results("q2")
    assert [doc for doc, _ in found] == docs
    assert [score for _, score in found] == pytest.approx(scores.tolist(), abs=1e-4)
    searcher.close()


def test_impact_search_is_our_exact_search(tmp_path: Path, rng: np.random.Generator) -> None:
    size, n_documents, n_queries = 60, 200, 25
    dense = rng.random((n_documents, size)) * (rng.random((n_documents, size)) < 0.2)
    asked = rng.random((n_queries, size)) * (rng.random((n_queries, size)) < 0.15)
    documents, queries = SparseMatrix.from_scipy(dense), SparseMatrix.from_scipy(asked)
    doc_ids = [f"d{n:03d}" for n in range(n_documents)]
    query_ids = [f"q{n}" for n in range(n_queries)]
    vocabulary = Vocabulary([f"##t{n}" for n in range(size)])
    impacts = write_impacts(
        tmp_path / "impacts", [(documents, doc_ids)], queries, query_ids, vocabulary,
        idf="none", encoder="random",
    )  # fmt: skip
    index, _ = index_impacts(impacts, tmp_path, n_threads=1)
    run = search_impacts(index, impacts, 10, tmp_path / "search", n_threads=1)
    ours = ExactIndex.from_matrix(quantise(documents)).search_batch(quantise(queries), 10)
    for at, query_id in enumerate(query_ids):
        docs, scores = run.results(query_id)
        found = ours[at]
        # Lucene's front end separates ties by tiny amounts; whole numbers come back by rounding.
        assert np.rint(scores).tolist() == found.scores.tolist()
        last = found.scores[-1] if len(found.scores) else 0
        sure = {doc_ids[r] for r, s in zip(found.rows, found.scores, strict=True) if s > last}
        assert sure <= set(docs)
