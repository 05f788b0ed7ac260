from __future__ import annotations

from pathlib import Path

import pytest

from eval.evaluate import EvalConfig, encode_target, evaluate_target
from eval.targets import open_target, sample_vectors
from eval.topics import load_topics
from indexing import IndexConfig, build_index
from lsr.core.errors import ArgumentError, ConfigError, VocabularyMismatchError
from lsr.encoders import LexicalEncoder
from tests.helpers.evaluation import SmallDataset, build_small_index, fit_lexical

pytest.importorskip("ir_measures")


def test_an_index_folder_scores_like_encoding_anew(tmp_path: Path) -> None:
    topics = load_topics(SmallDataset())
    opened = open_target(build_small_index(tmp_path))
    fresh = encode_target(fit_lexical(), SmallDataset())
    config = EvalConfig()
    from_disk, run = evaluate_target(opened, topics, config)
    in_memory, other = evaluate_target(fresh, topics, config)
    assert from_disk.per_query == in_memory.per_query
    assert list(run) == list(other)
    assert from_disk.efficiency.sparsity == in_memory.efficiency.sparsity
    assert from_disk.system == "lexical · exact"


def test_a_foreign_encoder_is_refused(tmp_path: Path) -> None:
    index = build_small_index(tmp_path)
    LexicalEncoder.fit(["other words"]).save(tmp_path / "other")
    with pytest.raises(VocabularyMismatchError):
        open_target(index, encoder=str(tmp_path / "other"))


def test_sparsity_of_a_large_index_is_sampled() -> None:
    target = encode_target(fit_lexical(), SmallDataset())
    (sample,) = sample_vectors(target.index, limit=3)
    assert sample.n_rows == 3
    assert sample.row(1) == target.index.document(2)


@pytest.fixture
def clustered(tmp_path: Path) -> Path:
    build_small_index(tmp_path)
    config = IndexConfig.model_validate({"layout": {"kind": "clustered"}})
    build_index(tmp_path / "vectors", tmp_path / "clustered", config, n_threads=1).close()
    return tmp_path / "clustered"


def test_search_parameters_belong_to_the_target(clustered: Path) -> None:
    target = open_target(clustered, params={"max_blocks": 3})
    assert target.params is not None
    assert target.params.max_blocks == 3
    assert target.system == "lexical · clustered · max_blocks=3"
    assert open_target(clustered).params is None
    with pytest.raises(ConfigError, match="max_blocks"):
        open_target(clustered, params={"max_block": 3})
    with pytest.raises(ArgumentError, match="not both"):
        open_target(clustered, params={"max_blocks": 3}, target_recall=0.9)
    with pytest.raises(ArgumentError, match="not tuned"):
        open_target(clustered, target_recall=0.9)


def test_recall_is_against_the_layouts_own_exact_mode(clustered: Path) -> None:
    topics, config = load_topics(SmallDataset()), EvalConfig()
    full, _ = evaluate_target(open_target(clustered, params={"max_blocks": 99}), topics, config)
    assert full.efficiency.recall_at_10 == 1.0
    exact, _ = evaluate_target(encode_target(fit_lexical(), SmallDataset()), topics, config)
    assert exact.efficiency.recall_at_10 == 1.0
    assert full.measures == exact.measures
