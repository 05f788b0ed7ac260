"""A filter on an index folder: what passes, as brute force over the documents says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from indexing import commands
from indexing.build import build_index
from indexing.config import IndexConfig
from indexing.dense import DenseIndex, DenseKind
from indexing.filters_language import bind, matches, parse_filter
from indexing.storage import IndexFolder
from lsr.core.config import load_config
from lsr.core.errors import ArgumentError, DataError, FilterError
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix
from lsr.data.vectors import open_vectors

FILTERS: list[dict[str, Any]] = [
    {"equals": {"lang": "en"}},
    {"range": {"year": {"gte": 1995}}},
    {"and": [{"in": {"lang": ["de", "fr"]}}, {"not": {"range": {"year": {"lt": 1993}}}}]},
    {"equals": {"year": 2050}},
    {"range": {"day": {"lt": "2026-01-10"}}},
]


@pytest.fixture
def tagged(corpus: list[Document]) -> list[Document]:
    return [
        document._replace(
            metadata={
                "lang": ("en", "de", "fr")[at % 3],
                "year": 1990 + at % 10,
                "day": f"2026-01-{at + 1:02}",
                "mixed": at if at % 2 else str(at),
            }
            if at != 4
            else {}
        )
        for at, document in enumerate(corpus)
    ]


def passing(folder: IndexFolder, documents: list[Document], raw: Any) -> list[int]:
    from indexing.filters_fields import field_values

    test = bind(parse_filter(raw), folder.fields)
    return [
        row
        for row, document in enumerate(documents)
        if matches(test, field_values(document.doc_id, document.metadata, folder.fields, {}))
    ]


@pytest.mark.parametrize("layout", ["exact", "clustered", "seismic"])
def test_the_best_that_pass(
    vectors: Path, tmp_path: Path, tagged: list[Document], layout: str
) -> None:
    config = load_config(IndexConfig, values={"layout": {"kind": layout}})
    made = build_index(
        vectors, tmp_path / "index", config, corpus=reversed(tagged), fields={"day": "date"}
    )
    with made as folder:
        assert folder.fields == {
            "day": "date",
            "lang": "string",
            "mixed": "stored",
            "year": "number",
        }
        assert folder.verify() == []
        matrix: SparseMatrix = open_vectors(vectors).matrix()
        for raw in FILTERS:
            rows = passing(folder, tagged, raw)
            for query in matrix:
                scores = {row: query.dot(folder.index.document(row)) for row in rows}
                best = sorted((row for row in rows if scores[row] > 0), key=lambda r: -scores[r])
                found = folder.search(query, 4, filter=raw)
                assert set(found.rows.tolist()) <= set(rows)
                assert len(found.rows) == len(best[:4])
                expected = [scores[row] for row in best[:4]]
                assert found.scores.tolist() == pytest.approx(expected, rel=1e-2)
                if layout == "exact":
                    assert found.rows.tolist() == best[:4]


def test_why_a_row_does_not_pass(vectors: Path, tmp_path: Path, tagged: list[Document]) -> None:
    with build_index(vectors, tmp_path / "index", corpus=tagged) as folder:
        query = folder.index.document(0)
        ask = folder.filters.why_not
        how: dict[str, Any] = {"params": None, "filter": {"equals": {"lang": "en"}}}
        assert ask(folder.index, query, 0, 3, **how).reason == "found"
        assert ask(folder.index, query, 1, 3, **how).reason == "filtered_out"
        assert ask(folder.index, query, 27, 1, **how).reason != "filtered_out"


def test_what_cannot_be_filtered(vectors: Path, tmp_path: Path, tagged: list[Document]) -> None:
    with build_index(vectors, tmp_path / "plain") as folder:
        assert folder.fields == {}
        with pytest.raises(ArgumentError, match="no metadata") as caught:
            folder.search(folder.index.document(0), filter=FILTERS[0])
        assert "--corpus" in caught.value.hint
    with build_index(vectors, tmp_path / "index", corpus=tagged) as folder:
        query = folder.index.document(0)
        for raw in ({"equals": {"language": "en"}}, {"equals": {"mixed": 1}}):
            with pytest.raises(FilterError):
                folder.search(query, filter=raw)
        # Without a declared type a date is a text.
        assert folder.fields["day"] == "string"
        with pytest.raises(ArgumentError, match="not both"):
            folder.search(query, filter=FILTERS[0], allowed=np.zeros(1, np.uint64))
    with pytest.raises(DataError, match="number"):
        build_index(vectors, tmp_path / "x", corpus=tagged, fields={"lang": "number"})
    app, run = typer.Typer(), CliRunner()
    commands.register(app)
    app.command("x")(lambda: None)
    wrong = run.invoke(app, ["index", "build", "v", "--out", "o", "--field", "day=dates"])
    assert isinstance(wrong.exception, ArgumentError)
    assert "'date'" in str(wrong.exception)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_dense_vectors_that_pass(
    vectors: Path,
    tmp_path: Path,
    tagged: list[Document],
    kind: DenseKind,
    rng: np.random.Generator,
) -> None:
    # Few values: exact products, and ties for the last place; the graph breaks those as it likes.
    high = 2 if kind == "flat" else 1_000
    rows = rng.integers(1 - high, high, (30, 4)).astype(np.float32)
    index = DenseIndex(rows, kind=kind)
    queries = rng.integers(1 - high, high, (25, 4)).astype(np.float32)
    with build_index(vectors, tmp_path / "index", corpus=tagged, fields={"day": "date"}) as folder:
        for raw in (None, *FILTERS):
            chosen = folder.filters.passing(raw) if raw is not None else None
            allowed = passing(folder, tagged, raw) if raw is not None else list(range(30))
            for k in (1, 3, 40):
                found = index.search_batch(queries, k, passing=chosen)
                for at, query in enumerate(queries):
                    best = sorted(allowed, key=lambda row: (-float(rows[row] @ query), row))[:k]
                    assert found[at][0].tolist() == best
                    assert found[at][1].tolist() == [float(rows[row] @ query) for row in best]
