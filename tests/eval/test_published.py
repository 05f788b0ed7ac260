"""Published figures on real collections; skipped where ../shared/data is absent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.evaluate import EvalConfig, evaluate
from eval.reproduce import check_suite
from eval.running import Runner, run_suite
from eval.suite import load_suite
from eval.workbench import BenchOptions
from lsr.data import load_dataset
from lsr.encoders import LexicalEncoder

pytest.importorskip("ir_measures")


@pytest.fixture
def collections(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from lsr.core.settings import get_settings

    monkeypatch.setenv("LSR_DATA", str(shared_data))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_the_published_figures_of_trec_runs_to_the_fourth_digit(
    collections: None, tmp_path: Path
) -> None:
    suite = load_suite("trec-runs").only(("dl19", "dl20"), ("bm25", "splade++ed"))
    runner = Runner(suite, BenchOptions(cache=tmp_path, timing=False))
    results, skipped = run_suite(runner)
    checks = check_suite(suite, results, skipped)
    assert [round(c.found or 0, 4) for c in checks] == [0.5058, 0.4796, 0.7308, 0.7197]
    assert {c.verdict for c in checks} == {"OK"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lucene", "floor"), [("scifact", 0.6789, 0.66), ("nfcorpus", 0.3218, 0.31)]
)
def test_the_lexical_encoder_is_as_good_as_lucene(
    collections: None, name: str, lucene: float, floor: float
) -> None:
    dataset = load_dataset(name)
    encoder = LexicalEncoder.fit(d.content for d in dataset.documents())
    found = evaluate(encoder, dataset, EvalConfig(measures=("nDCG@10",))).measures["nDCG@10"]
    assert found >= floor
    assert abs(found - lucene) < 0.005
