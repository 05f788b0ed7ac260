from __future__ import annotations

from pathlib import Path

import pytest

from eval.evaluate import EvalConfig, encode_target, evaluate_target
from eval.targets import open_target, sample_vectors
from eval.topics import load_topics
from lsr.core.errors import VocabularyMismatchError
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
