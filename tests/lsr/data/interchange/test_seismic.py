from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsr.data.interchange.seismic import write_seismic
from lsr.data.vector_jsonl import iter_rows
from lsr.data.vectors import VectorCollection
from tests.lsr.data.interchange.conftest import TOKENS, exact_top, random_rows


def test_seismic_reads_it_and_finds_the_same(
    tmp_path: Path,
    collection: VectorCollection,
    rng: np.random.Generator,
    capfd: pytest.CaptureFixture[str],
) -> None:
    seismic = pytest.importorskip("seismic")
    path = tmp_path / "c.jsonl"
    assert write_seismic(collection, path) == 300
    # Nothing pruned, full summaries, every block visited: as exact as Seismic gets.
    index = seismic.SeismicIndex.build(
        str(path), n_postings=1000, min_cluster_size=1, summary_energy=1.0, max_fraction=10.0
    )
    assert index.len == 300
    assert index.nnz == collection.nnz
    assert index.dim == len(TOKENS) - 1
    names = list(collection.doc_ids())
    rows = [row for _, row in iter_rows(collection)]
    text = seismic.get_seismic_string()
    for query in random_rows(rng, 20, 6):
        tokens = np.array([TOKENS[t] for t in query.terms.tolist()], dtype=text)
        found = index.search("q", tokens, query.weights, 10, 60, 1.0)
        expected, scores = exact_top(rows, query, 10)
        # Seismic stores values as float16: 11 bits of precision.
        assert [score for _, score, _ in found] == pytest.approx(scores, rel=1e-3)
        for (_, _, name), row, score in zip(found, expected, scores, strict=True):
            seen = rows[names.index(name)].dot(query)
            assert name == names[row] or seen == pytest.approx(score, rel=2e-3)
    capfd.readouterr()
