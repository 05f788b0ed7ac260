"""Tokenised pairs, batches of them, negatives and teachers' tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer

from lsr.core.errors import ArgumentError, DataError
from lsr.training.batches import Sampler, TeacherPanel, prefetch
from lsr.training.candidates import BM25Search, DenseSearch
from lsr.training.config import (
    BM25Teacher,
    DataConfig,
    DenseTeacher,
    NegativesConfig,
    SparseTeacher,
)
from lsr.training.negatives import filter_candidates, merge_lists, mine_negatives
from lsr.training.pair_table import PairTable
from lsr.training.pairs import prepare_pairs
from lsr.training.teachers import (
    DenseTable,
    SparseTable,
    bm25_weights,
    embed_teacher,
    normalised_mixture,
    term_counts,
)
from lsr.training.tokens import DeviceTokens, length_groups

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer(backbone: Path) -> Tokenizer:
    return Tokenizer.from_file(str(backbone / "tokenizer.json"))


@pytest.fixture(scope="module")
def table(
    tokenizer: Tokenizer, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> PairTable:
    config = DataConfig(pairs=(pairs_file,), max_document_tokens=32, n_held_out=10)
    return prepare_pairs(tmp_path_factory.mktemp("data") / "pairs", config, tokenizer, seed=1)


def test_texts_are_the_tokenizers(table: PairTable, pairs_file: Path, tokenizer: Tokenizer) -> None:
    lines = [json.loads(x) for x in pairs_file.read_text(encoding="utf-8").splitlines()]
    wanted = {
        tuple(tokenizer.encode(x["positive"], add_special_tokens=False).ids[:30]) for x in lines
    }
    seen = {tuple(table.passages.row(r).tolist()) for r in range(len(table.passages))}
    assert seen == wanted
    assert table.sources == ["even", "odd"]
    assert len(table.pairs) + len(table.held_out) == len(lines)


def test_held_out_queries_are_not_trained_on(table: PairTable) -> None:
    assert len(table.held_out) == 10
    assert not set(table.held_out[:, 0].tolist()) & set(table.pairs[:, 0].tolist())


def test_document_frequencies_count_passages(table: PairTable) -> None:
    df = np.zeros(table.vocabulary_size, dtype=int)
    for row in range(len(table.passages)):
        df[np.unique(table.passages.row(row))] += 1
    assert np.array_equal(df, table.df)
    idf = table.idf()
    term = int(df.argmax())
    n = len(table.passages)
    assert idf[term] == pytest.approx(np.log(1 + (n - df[term] + 0.5) / (df[term] + 0.5)))
    assert idf[list(table.special.values())].sum() == 0


def test_sentences_become_queries_of_the_rest(
    tokenizer: Tokenizer, pairs_file: Path, tmp_path: Path
) -> None:
    config = DataConfig.model_validate(
        {
            "pairs": [pairs_file],
            "n_held_out": 0,
            "sentence_queries": {"sources": ["odd"], "min_tokens": 3, "max_passages": 5},
        }
    )
    made = prepare_pairs(tmp_path / "pairs", config, tokenizer, seed=1)
    source = made.sources.index("sentences")
    stop = tokenizer.token_to_id(".")
    chosen = made.pairs[made.pair_sources == source]
    assert len(chosen) == 5
    originals = {tuple(made.passages.row(r).tolist()) for r in range(len(made.passages))}
    for query, passage in chosen:
        sentence = [*made.queries.row(query).tolist(), stop]
        rest = made.passages.row(passage).tolist()
        assert tuple(sentence + rest) in originals or tuple(rest + sentence) in originals


def test_large_sources_are_cut(tokenizer: Tokenizer, pairs_file: Path, tmp_path: Path) -> None:
    config = DataConfig(pairs=(pairs_file,), max_pairs_per_source=7, n_held_out=0)
    made = prepare_pairs(tmp_path / "pairs", config, tokenizer, seed=1)
    assert made.manifest.details["pairs_by_source"] == {"even": 7, "odd": 7}


def test_weights_of_unknown_sources_are_an_error(
    tokenizer: Tokenizer, pairs_file: Path, tmp_path: Path
) -> None:
    config = DataConfig(pairs=(pairs_file,), source_weights={"eevn": 2.0})
    with pytest.raises(DataError, match="eevn"):
        prepare_pairs(tmp_path / "pairs", config, tokenizer, seed=1)


def test_batches_are_padded_and_cut(table: PairTable, tokenizer: Tokenizer) -> None:
    tokens = DeviceTokens(table.passages, table.special, CPU)
    rows = np.array([3, 0, 7])
    batch = tokens.batch(rows, 12)
    assert batch.ids.shape[1] <= 12
    special = table.special
    for i, row in enumerate(rows):
        ids = table.passages.row(row)[:10].tolist()
        wanted = [special["cls"], *ids, special["sep"]]
        assert batch.ids[i, : len(wanted)].tolist() == wanted
        assert batch.ids[i, len(wanted) :].tolist() == [special["pad"]] * (
            batch.ids.shape[1] - len(wanted)
        )
        assert batch.mask[i].sum() == len(wanted)


def test_length_groups_hold_every_position_once() -> None:
    lengths = np.array([5, 1, 9, 3, 3, 8, 2])
    groups = length_groups(lengths, 3)
    assert sorted(np.concatenate(groups).tolist()) == list(range(7))
    assert max(map(len, groups)) <= 3
    assert (np.diff(lengths[np.concatenate(groups)]) >= 0).all()


class TestSampler:
    def test_rows_are_a_function_of_the_step(
        self, table: PairTable, recipe: Callable[..., Any]
    ) -> None:
        first, second = (Sampler(table, None, recipe()) for _ in range(2))
        second.rows(9)
        for step in (0, 30):
            a, b = first.rows(step), second.rows(step)
            assert np.array_equal(a.documents, b.documents)
            assert np.array_equal(a.queries, b.queries)

    def test_an_epoch_sees_every_pair_by_its_weight(
        self, table: PairTable, recipe: Callable[..., Any]
    ) -> None:
        config = recipe(batch_queries=1, documents_per_query=1)
        data = config.data.model_copy(update={"source_weights": {"odd": 2.0, "even": 0.5}})
        sampler = Sampler(table, None, config.model_copy(update={"data": data}))
        sources = dict(zip(table.pairs[:, 0].tolist(), table.pair_sources.tolist(), strict=True))
        counts = [0, 0]
        for step in range(sampler.steps_per_epoch):
            counts[sources[int(sampler.rows(step).queries[0])]] += 1
        n = np.bincount(table.pair_sources)
        assert counts == [round(0.5 * n[0]), 2 * n[1]]

    def test_groups_have_the_positive_first_and_mined_negatives(
        self, table: PairTable, recipe: Callable[..., Any]
    ) -> None:
        negatives = np.full((len(table.queries), 4), -1, dtype=np.int32)
        negatives[:, 1], negatives[:, 3] = 5, 6
        rows = Sampler(table, negatives, recipe()).rows(2)
        groups = rows.documents.reshape(-1, 3)
        positive = {(q, p) for q, p in table.pairs.tolist()}
        for query, group in zip(rows.queries, groups, strict=True):
            assert (query, group[0]) in positive
            assert set(group[1:]) == {5, 6}
        assert rows.positives[np.arange(8), np.arange(8) * 3].all()
        known = positive | {(q, p) for q, p in table.held_out.tolist()}
        wanted = [[(q, d) in known for d in rows.documents] for q in rows.queries]
        assert np.array_equal(rows.positives, wanted)

    def test_too_few_pairs(self, table: PairTable, recipe: Callable[..., Any]) -> None:
        with pytest.raises(ArgumentError, match="do not fill a batch"):
            Sampler(table, None, recipe(batch_queries=1000))


def test_prefetch_keeps_order_and_hands_errors_over() -> None:
    assert list(prefetch(lambda i: i, 2, 9)) == list(range(2, 9))  # type: ignore[arg-type,return-value]

    def broken(step: int) -> Any:
        raise DataError(f"step {step}")

    with pytest.raises(DataError, match="step 0"):
        next(iter(prefetch(broken, 0, 3)))


class TestTeachers:
    @pytest.fixture
    def dense(self, table: PairTable, backbone: Path, tmp_path: Path) -> DenseTable:
        config = DenseTeacher(name="d", model=str(backbone), max_tokens=32)
        made = embed_teacher(config, table, tmp_path / "d", device=CPU)
        assert isinstance(made, DenseTable)
        return made

    def test_dense_rows_are_pooled_states(
        self, dense: DenseTable, table: PairTable, backbone: Path
    ) -> None:
        from transformers import AutoModel

        model = AutoModel.from_pretrained(backbone).eval()
        batch = DeviceTokens(table.passages, table.special, CPU).batch(np.array([4]), 32)
        with torch.no_grad():
            states = model(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
        pooled = (states[0] * batch.mask[0][:, None]).sum(0) / batch.mask.sum()
        wanted = (pooled / pooled.norm()).numpy()
        np.testing.assert_allclose(dense.passages[4], wanted, atol=2e-3)

    def test_sparse_rows_are_the_heaviest_terms(
        self, table: PairTable, backbone: Path, tmp_path: Path
    ) -> None:
        from lsr.encoders.torch_sides import MaskedLMSide
        from lsr.training.network import load_masked_lm

        config = SparseTeacher(name="s", model=str(backbone), top_terms=10, max_tokens=32)
        made = embed_teacher(config, table, tmp_path / "s", device=CPU)
        assert isinstance(made, SparseTable)
        side = MaskedLMSide(load_masked_lm(backbone)[0]).eval()
        batch = DeviceTokens(table.queries, table.special, CPU).batch(np.array([2]), 32)
        with torch.no_grad():
            whole = side(batch.ids, batch.mask)[0]
        kept = made.side("queries", np.array([2]), CPU)[0].float()
        top = whole.topk(10).indices
        torch.testing.assert_close(kept[top], whole[top], rtol=2e-3, atol=2e-3)
        assert (kept > 0).sum() <= 10

    def test_an_interrupted_teacher_goes_on(
        self, dense: DenseTable, table: PairTable, backbone: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        import lsr.training.teachers as module

        monkeypatch.setattr(module, "_BATCH_TOKENS", 256)
        monkeypatch.setattr(module, "_SAVE_SECONDS", 0)
        calls = []
        original = module._encoder

        def counting(*args: Any) -> Any:
            encode, names, dimension = original(*args)

            def limited(ids: Any, mask: Any) -> Any:
                calls.append(len(ids))
                if len(calls) == 4:
                    raise KeyboardInterrupt
                return encode(ids, mask)

            return limited, names, dimension

        monkeypatch.setattr(module, "_encoder", counting)
        config = DenseTeacher(name="d", model=str(backbone), max_tokens=32)
        with pytest.raises(KeyboardInterrupt):
            embed_teacher(config, table, tmp_path / "cut", device=CPU)
        done = sum(calls[:3])
        made = embed_teacher(config, table, tmp_path / "cut", device=CPU)
        assert sum(calls[4:]) == len(table.passages) + len(table.queries) - done
        assert isinstance(made, DenseTable)
        np.testing.assert_allclose(made.passages, dense.passages, atol=2e-3)
        np.testing.assert_allclose(made.queries, dense.queries, atol=2e-3)

    def test_negatives_are_near_and_no_positives(
        self, dense: DenseTable, table: PairTable, tmp_path: Path
    ) -> None:
        config = NegativesConfig(teachers=("d",), depth=5, margin=100.0)
        negatives = mine_negatives(config, table, [DenseSearch(dense, CPU)], tmp_path / "n")
        scores = dense.queries.astype(np.float32) @ dense.passages.T.astype(np.float32)
        positive = dict(table.pairs.tolist())
        for query, passage in positive.items():
            own = scores[query].copy()
            own[passage] = -9
            wanted = np.sort(own)[::-1][:5]
            np.testing.assert_allclose(scores[query][negatives[query]], wanted, atol=1e-3)

    def test_bm25_negatives_come_from_our_own_index(self, table: PairTable, tmp_path: Path) -> None:
        config = NegativesConfig(teachers=("b",), depth=4, margin=100.0)
        search = BM25Search(BM25Teacher(name="b"), table)
        negatives = mine_negatives(config, table, [search], tmp_path / "n")
        positive = dict(table.pairs.tolist())
        for query in list(positive)[:20]:
            scores = {d: _bm25(table, query, d) for d in range(len(table.passages))}
            limit = 100 * scores.pop(positive[query])
            wanted = sorted((s for s in scores.values() if 0 < s <= limit), reverse=True)[:4]
            seen = [scores[d] for d in negatives[query] if d >= 0]
            np.testing.assert_allclose(seen, wanted, rtol=1e-4)

    def test_the_panel_mixes_normalised_scores(
        self, dense: DenseTable, table: PairTable, recipe: Callable[..., Any]
    ) -> None:
        config = recipe(
            teachers=[
                {"kind": "dense", "name": "d", "model": "x", "weight": 3.0},
                {"kind": "bm25", "name": "b", "weight": 1.0},
            ]
        )
        rows = Sampler(table, None, config).rows(0)
        mixed = TeacherPanel(config, {"d": dense}, table, CPU).scores(rows).numpy()
        cosine = dense.queries[rows.queries].astype(np.float32) @ dense.passages[
            rows.documents
        ].T.astype(np.float32)
        bm25 = np.array([[_bm25(table, q, d) for d in rows.documents] for q in rows.queries])

        def row_normal(s: Any) -> Any:
            low, high = s.min(axis=1, keepdims=True), s.max(axis=1, keepdims=True)
            return (s - low) / (high - low + 1e-6)

        wanted = 30 * (0.75 * row_normal(cosine) + 0.25 * row_normal(bm25))
        np.testing.assert_allclose(mixed, wanted, atol=1e-2)


def _bm25(table: PairTable, query: int, passage: int) -> float:
    idf, mean = table.idf(), table.passages.lengths().mean()
    document = table.passages.row(passage)
    inside = document[~np.isin(document, list(table.special.values()))]
    score = 0.0
    for term in table.queries.row(query):
        tf = (inside == term).sum()
        score += idf[term] * tf * 1.9 / (tf + 0.9 * (0.6 + 0.4 * len(inside) / mean))
    return float(score)


def test_filter_drops_positives_and_too_near_candidates() -> None:
    candidates = np.array([[7, 3, 5, 9], [1, 2, 3, 4]])
    scores = np.array([[0.9, 0.8, 0.4, 0.3], [0.5, 0.4, 0.3, 0.2]], dtype=np.float32)
    kept = filter_candidates(
        candidates,
        scores,
        np.array([[3, -1], [2, 4]]),
        np.array([0.8, 0.3], dtype=np.float32),
        depth=3,
        margin=0.95,
    )
    assert kept.tolist() == [[5, 9, -1], [-1, -1, -1]]


def test_lists_are_merged_rank_by_rank() -> None:
    a = np.array([[1, 2, -1], [-1, -1, -1]], dtype=np.int32)
    b = np.array([[2, 3, 4], [7, -1, -1]], dtype=np.int32)
    assert merge_lists([a, b], 3).tolist() == [[1, 2, 3], [7, -1, -1]]


def test_mixture_is_scaled_to_each_rows_range() -> None:
    a = torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    b = torch.tensor([[3.0, 1.0, 2.0], [0.0, 10.0, 5.0]])
    mixed = normalised_mixture([(1.0, a), (3.0, b)], 30.0)
    wanted = [[22.5, 3.75, 18.75], [0.0, 22.5, 11.25]]
    torch.testing.assert_close(mixed, torch.tensor(wanted), rtol=1e-4, atol=1e-3)


def test_bm25_counts_repeats_and_length() -> None:
    ids = torch.tensor([[2, 7, 7, 8, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0]])
    tf = term_counts(ids, mask, size=10, special=[0, 2, 3])
    assert tf[0].nonzero().flatten().tolist() == [7, 8]
    weights = bm25_weights(tf, k1=1.2, b=0.5, mean_length=6.0)
    assert weights[0, 7].item() == pytest.approx(2 * 2.2 / (2 + 1.2 * (0.5 + 0.5 * 3 / 6)))
