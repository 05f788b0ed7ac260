from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from indexing.dense import DenseIndex
from indexing.dense_encoder import DenseEncoder
from lsr.core.errors import DataError, EncoderNotFoundError, ModelFormatError
from tests.helpers.tiny_model import tiny_bi_encoder


def _vectors(n: int, width: int = 16) -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_flat_search_is_the_matrix_product() -> None:
    pytest.importorskip("faiss")
    documents, queries = _vectors(50), _vectors(7)
    found = DenseIndex(documents).search_batch(queries, 5)
    scores = queries @ documents.T
    assert np.array_equal(found.rows, np.argsort(-scores, axis=1)[:, :5])
    assert found.scores == pytest.approx(-np.sort(-scores, axis=1)[:, :5], abs=1e-6)
    rows, one = DenseIndex(documents).search(queries[3], 5)
    assert np.array_equal(rows, found.rows[3])
    assert np.allclose(one, found.scores[3])


def test_equal_scores_keep_the_order_of_rows() -> None:
    pytest.importorskip("faiss")
    same = np.repeat(_vectors(1), 9, axis=0)
    assert DenseIndex(same).search_batch(same[:1], 20).rows.tolist() == [list(range(9))]


def test_the_graph_finds_nearly_all() -> None:
    pytest.importorskip("faiss")
    documents, queries = _vectors(500), _vectors(20)
    exact = DenseIndex(documents).search_batch(queries, 10).rows
    graph = DenseIndex(documents, kind="hnsw", m=16)
    found = graph.search_batch(queries, 10).rows
    shared = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert shared > 0.95, shared
    parts = graph.bytes_by_part()
    assert parts["vectors"] == documents.nbytes
    assert parts["graph"] > 0


def test_no_vectors_are_an_error() -> None:
    pytest.importorskip("faiss")
    with pytest.raises(DataError, match=r"\(0, 4\)"):
        DenseIndex(np.empty((0, 4), dtype=np.float32))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return tiny_bi_encoder(tmp_path_factory.mktemp("dense") / "tiny-dense")


def _declare(path: Path, pooling: dict[str, object], *more: str) -> None:
    modules: list[dict[str, object]] = [
        {"path": "", "type": "sentence_transformers.models.Transformer"}
    ]
    modules.append({"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    modules += [{"path": m, "type": f"sentence_transformers.models.{m}"} for m in more]
    modules = [{"idx": at, "name": str(at), **module} for at, module in enumerate(modules)]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir(exist_ok=True)
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def test_rows_do_not_depend_on_batch_mates(tiny_model: Path) -> None:
    encoder = DenseEncoder(tiny_model)
    texts = ["a b c", "d", "e f g h i j a b c d e f", "", "b"]
    together = encoder.encode(texts, batch_size=5)
    alone = np.concatenate([encoder.encode([t], batch_size=1) for t in texts])
    assert together == pytest.approx(alone, abs=1e-5)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert encoder.max_tokens == 8


def test_it_agrees_with_sentence_transformers(tiny_model: Path) -> None:
    package = pytest.importorskip("sentence_transformers")
    texts = ["a b c", "d e f g h i j a b c"]
    for pooling in ("mean_tokens", "cls_token"):
        flags = {f"pooling_mode_{p}": p == pooling for p in ("mean_tokens", "cls_token")}
        _declare(tiny_model, {"word_embedding_dimension": 16, **flags}, "Normalize")
        theirs = package.SentenceTransformer(str(tiny_model), device="cpu").encode(texts)
        assert DenseEncoder(tiny_model).encode(texts) == pytest.approx(theirs, abs=1e-5)


def test_the_fingerprint_follows_the_files(tiny_model: Path) -> None:
    _declare(tiny_model, {"pooling_mode_mean_tokens": True})
    before = DenseEncoder(tiny_model).fingerprint
    assert DenseEncoder(tiny_model).fingerprint == before
    _declare(tiny_model, {"pooling_mode_cls_token": True})
    assert DenseEncoder(tiny_model).fingerprint != before


def test_what_it_cannot_read_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderNotFoundError):
        DenseEncoder(tmp_path)
    _declare(tiny_model, {"pooling_mode_max_tokens": True})
    with pytest.raises(ModelFormatError, match="max"):
        DenseEncoder(tiny_model)
    _declare(tiny_model, {"pooling_mode_mean_tokens": True}, "Dense")
    with pytest.raises(ModelFormatError, match="Dense"):
        DenseEncoder(tiny_model)
