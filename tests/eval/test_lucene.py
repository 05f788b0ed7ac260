"""Against the real Lucene; skipped where pyserini is not installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from eval.agreement import check_agreements
from eval.lucene import (
    LuceneSearcher,
    index_impacts,
    index_texts,
    search_impacts,
    search_texts,
)
from eval.running import Runner
from eval.suite import Suite
from eval.topics import load_topics
from eval.workbench import BenchOptions
from indexing.exact import ExactIndex
from lsr.core.sparse import SparseMatrix
from lsr.data.interchange import DEFAULT_SCALE, impact_matrix
from lsr.data.interchange.anserini import write_anserini, write_topics
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
    tokens = [f"##t{n}" for n in range(size)]
    (tmp_path / "corpus").mkdir()
    corpus, topics = tmp_path / "corpus" / "documents.jsonl", tmp_path / "queries.tsv"
    write_anserini(zip(doc_ids, documents, strict=True), tokens, corpus)
    write_topics(zip(query_ids, queries, strict=True), tokens, topics)
    index, _ = index_impacts(tmp_path / "corpus", tmp_path, n_threads=1)
    run = search_impacts(index, topics, 10, tmp_path / "search", n_threads=1)
    whole = [impact_matrix(m, DEFAULT_SCALE) for m in (documents, queries)]
    ours = ExactIndex.from_matrix(whole[0]).search_batch(whole[1], 10)
    for at, query_id in enumerate(query_ids):
        docs, scores = run.results(query_id)
        found = ours[at]
        assert scores.tolist() == found.scores.tolist()
        last = found.scores[-1] if len(found.scores) else 0
        sure = {doc_ids[r] for r, s in zip(found.rows, found.scores, strict=True) if s > last}
        assert sure <= set(docs)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["lexical", "splade-tiny"])
def test_on_a_real_collection_only_ties_differ(
    encoder: str, shared_data: Path, tmp_path: Path
) -> None:
    if encoder == "splade-tiny":
        encoder = os.environ.get("LSR_TEST_SPLADE_TINY", "")
        if not encoder:
            pytest.skip("LSR_TEST_SPLADE_TINY does not name a folder with the splade-tiny model")
    suite = Suite.model_validate(
        {
            "name": "oracle",
            "collections": [{"name": "scifact", "source": str(shared_data / "scifact.tar.zst")}],
            "systems": [
                {"name": "ours", "kind": "sparse", "encoder": encoder, "impact_scale": 100},
                {"name": "lucene", "kind": "lucene-impact", "encoder": encoder},
            ],
            "agreements": [{"collection": "scifact", "system": "ours", "other": "lucene"}],
        }
    )
    options = BenchOptions(cache=tmp_path, timing=False)
    top, quality = check_agreements(Runner(suite, options))
    assert (top.verdict, top.found, top.reason) == ("OK", 1.0, "")
    assert quality.found == quality.expected
