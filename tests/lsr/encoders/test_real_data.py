"""The lexical encoder on real collections, against what Lucene's BM25 reaches there."""

from pathlib import Path

import numpy as np
import pytest

from lsr.data import load_dataset
from lsr.encoders import LexicalEncoder

ir_measures = pytest.importorskip("ir_measures")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lucene", "least"), [("scifact", 0.679, 0.66), ("nfcorpus", 0.322, 0.31)]
)
def test_it_is_as_good_as_lucene(shared_data: Path, name: str, lucene: float, least: float) -> None:
    dataset = load_dataset(shared_data / f"{name}.tar.zst")
    documents = list(dataset.documents())
    queries = list(dataset.queries("test"))
    encoder = LexicalEncoder.fit(d.content for d in documents)
    vectors = encoder.encode_documents([d.content for d in documents]).to_scipy()
    run = []
    for query in queries:
        row = encoder.encode_queries([query.text]).to_scipy()
        scores = (vectors @ row.T).toarray().ravel()
        best = np.lexsort((np.arange(len(scores)), -scores))[:100]
        run += [
            ir_measures.ScoredDoc(query.query_id, documents[at].doc_id, float(scores[at]))
            for at in best.tolist()
            if scores[at] > 0
        ]
    qrels = [ir_measures.Qrel(q.query_id, q.doc_id, q.relevance) for q in dataset.qrels("test")]
    measure = ir_measures.parse_measure("nDCG@10")
    found = ir_measures.calc_aggregate([measure], qrels, run)[measure]
    assert found >= least
    assert abs(found - lucene) < 0.01
