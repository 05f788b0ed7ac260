"""Against the real Lucene; skipped where pyserini is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from eval.evaluate import EvalConfig, evaluate_run
from eval.lucene import (
    LuceneSearcher,
    index_impacts,
    index_texts,
    search_impacts,
    search_texts,
)
from eval.runs import RunTable
from eval.topics import load_topics
from indexing.exact import ExactIndex
from lsr.core.sparse import SparseMatrix
from lsr.data import load_dataset
from lsr.data.interchange import DEFAULT_SCALE, to_impacts
from lsr.data.interchange.anserini import write_anserini, write_topics
from lsr.encoders import LexicalEncoder
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
    whole = [
        SparseMatrix.from_rows((to_impacts(v, DEFAULT_SCALE) for v in m), size)
        for m in (documents, queries)
    ]
    ours = ExactIndex.from_matrix(whole[0]).search_batch(whole[1], 10)
    for at, query_id in enumerate(query_ids):
        docs, scores = run.results(query_id)
        found = ours[at]
        # Lucene's front end separates ties by tiny amounts; whole numbers come back by rounding.
        assert np.rint(scores).tolist() == found.scores.tolist()
        last = found.scores[-1] if len(found.scores) else 0
        sure = {doc_ids[r] for r, s in zip(found.rows, found.scores, strict=True) if s > last}
        assert sure <= set(docs)


@pytest.mark.slow
def test_on_a_real_collection_only_ties_differ(shared_data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(shared_data / "scifact.tar.zst")
    topics = load_topics(dataset)
    documents = list(dataset.documents())
    encoder = LexicalEncoder.fit(d.content for d in documents)
    size, tokens = len(encoder.vocabulary), encoder.vocabulary.tokens
    vectors = encoder.encode_documents([d.content for d in documents])
    queries = encoder.encode_queries(topics.texts)
    doc_ids = [d.doc_id for d in documents]
    (tmp_path / "corpus").mkdir()
    topics_file = tmp_path / "queries.tsv"
    write_anserini(zip(doc_ids, vectors, strict=True), tokens, tmp_path / "corpus" / "d.jsonl")
    write_topics(zip(topics.query_ids, queries, strict=True), tokens, topics_file)
    index, _ = index_impacts(tmp_path / "corpus", tmp_path)
    theirs = search_impacts(index, topics_file, 100, tmp_path / "search")
    whole = [
        SparseMatrix.from_rows((to_impacts(v, DEFAULT_SCALE) for v in m), size)
        for m in (vectors, queries)
    ]
    found = ExactIndex.from_matrix(whole[0]).search_batch(whole[1], 100)
    ours = RunTable.from_batch(topics.query_ids, doc_ids, found)
    n_equal = 0
    for at, query_id in enumerate(topics.query_ids):
        mine, yours = (set(run.results(query_id)[0][:10]) for run in (ours, theirs))
        scores = found[at].scores
        sure = {doc_ids[r] for r in found[at].rows[:10][scores[:10] > scores[10]]}
        assert sure <= mine & yours, query_id
        n_equal += mine == yours
    assert n_equal > 0.95 * len(topics.query_ids)
    config = EvalConfig(measures=("nDCG@10",))
    means = [evaluate_run(r, topics, config, system="").measures["nDCG@10"] for r in (ours, theirs)]
    assert means[0] == pytest.approx(means[1], abs=1e-3)
