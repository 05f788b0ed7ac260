"""Examples with negatives and scores, the teachers for own documents only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer

from lsr.core.errors import ConfigError, TrainingError
from lsr.training.batches import Sampler, TeacherPanel
from lsr.training.config import CrossEncoderTeacher, DataConfig, ExamplesConfig
from lsr.training.distributed import Processes
from lsr.training.example_sources import read_example_source
from lsr.training.losses import KLDivergence, Scores
from lsr.training.pair_table import PairTable
from lsr.training.pairs import prepare_pairs
from lsr.training.pipeline import Pipeline

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scored_file(tmp_path_factory: pytest.TempPathFactory, pairs_file: Path) -> Path:
    lines = [json.loads(x) for x in pairs_file.read_text(encoding="utf-8").splitlines()][:40]
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("examples") / "scored.jsonl"
    with open(path, "w", encoding="utf-8") as out:
        for number, line in enumerate(lines):
            others = [lines[(number + k) % 40]["positive"] for k in (1, 2, 3)]
            scores = [5.0, *rng.normal(size=3).tolist()]
            example = {"query": line["query"], "positive": line["positive"]}
            out.write(json.dumps({**example, "negatives": others, "scores": scores}) + "\n")
    return path


@pytest.fixture
def examples(scored_file: Path) -> dict[str, Any]:
    return {"form": "texts", "path": str(scored_file)}


@pytest.fixture
def table(backbone: Path, examples: dict[str, Any], tmp_path: Path) -> PairTable:
    config = DataConfig.model_validate({"examples": [examples], "n_held_out": 0})
    tokenizer = Tokenizer.from_file(str(backbone / "tokenizer.json"))
    return prepare_pairs(tmp_path / "pairs", config, tokenizer, seed=1)


def test_lists_hold_positives_and_negatives_with_scores(
    table: PairTable, scored_file: Path
) -> None:
    lists = table.lists
    assert lists is not None
    assert np.diff(lists.offsets).max() == 4
    assert table.sources == ["scored"]
    first = json.loads(scored_file.read_text(encoding="utf-8").splitlines()[0])
    query = int(table.pairs[table.pairs[:, 0] == 0][0, 0])
    seen = lists.scores[lists.offsets[query] : lists.offsets[query + 1]]
    np.testing.assert_allclose(sorted(seen), sorted(first["scores"]), rtol=1e-6)


def test_groups_come_from_the_lists(table: PairTable, recipe: Callable[..., Any]) -> None:
    config = recipe(teachers=[{"kind": "scores", "name": "file"}], documents_per_query=3,
                    losses=[{"kind": "kl", "candidates": "own"}])  # fmt: skip
    sampler = Sampler(table, None, config)
    rows = sampler.rows(1)
    lists = table.lists
    assert lists is not None
    panel = TeacherPanel(config, {}, table, CPU)
    mixed = panel.scores(rows)
    assert mixed.shape == (8, 3)
    for i, query in enumerate(rows.queries):
        part = slice(int(lists.offsets[query]), int(lists.offsets[query + 1]))
        score = dict(zip(lists.passages[part].tolist(), lists.scores[part].tolist(), strict=True))
        own = np.array([score[d] for d in rows.documents[i * 3 : i * 3 + 3]])
        wanted = 30 * (own - own.min()) / (own.max() - own.min() + 1e-6)
        np.testing.assert_allclose(mixed[i].numpy(), wanted, rtol=1e-4, atol=1e-3)
    student = torch.randn(8, 24)
    value = KLDivergence(1.0, "own")(Scores(student, 3, mixed))
    assert torch.isfinite(value)


def test_too_few_scored_passages(table: PairTable, recipe: Callable[..., Any]) -> None:
    config = recipe(teachers=[{"kind": "scores", "name": "file"}], documents_per_query=6,
                    losses=[{"kind": "kl", "candidates": "own"}])  # fmt: skip
    rows = Sampler(table, None, config).rows(0)
    with pytest.raises(TrainingError, match="no 6 scored passages"):
        TeacherPanel(config, {}, table, CPU).scores(rows)


def test_scores_need_own_candidates(recipe: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="own candidates only"):
        recipe(teachers=[{"kind": "scores", "name": "file"}], losses=[{"kind": "kl"}])


def test_a_recipe_trains_on_scored_lists(
    recipe: Callable[..., Any], examples: dict[str, Any], tmp_path: Path
) -> None:
    config = recipe(
        data={"examples": [examples], "max_document_tokens": 32, "n_held_out": 4},
        teachers=[
            {"kind": "scores", "name": "file", "weight": 2.0},
            {"kind": "bm25", "name": "bm25"},
        ],
        losses=[{"kind": "kl", "candidates": "own"}, {"kind": "margin-mse", "weight": 0.05}],
        steps=3,
    )
    out = tmp_path / "run"
    assert Pipeline(config, out, out / "data", Processes(0, 1, CPU)).run(("tokenise", "train"))


def test_triples_and_missing_values(tmp_path: Path) -> None:
    file = tmp_path / "triples.tsv"
    file.write_text("who\tthe answer\tanother text\n", encoding="utf-8")
    config = ExamplesConfig(form="text-triples", path=file, source="msmarco")
    (example,) = read_example_source(config)
    assert (example.positives, example.negatives, example.source) == (
        ("the answer",),
        ("another text",),
        "msmarco",
    )
    with pytest.raises(ConfigError, match="need a dataset"):
        next(read_example_source(ExamplesConfig(form="id-triples", path=file)))
    with pytest.raises(ConfigError, match="need a path"):
        next(read_example_source(ExamplesConfig(form="texts")))


def test_judgements_of_a_split_become_pairs(tmp_path: Path, backbone: Path) -> None:
    (tmp_path / "set" / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": f"cat {'dog ' * i}"} for i in range(4)]
    queries = [{"_id": "q1", "text": "warm cat"}, {"_id": "q2", "text": "dog"}]
    for name, lines in (("corpus", documents), ("queries", queries)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "set" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    qrels = "query-id\tcorpus-id\tscore\nq1\td0\t1\nq1\td1\t0\nq2\td2\t2\n"
    (tmp_path / "set" / "qrels" / "train.tsv").write_text(qrels, encoding="utf-8")
    config = DataConfig.model_validate(
        {"examples": [{"form": "split", "dataset": str(tmp_path / "set")}], "n_held_out": 0}
    )
    tokenizer = Tokenizer.from_file(str(backbone / "tokenizer.json"))
    made = prepare_pairs(tmp_path / "pairs", config, tokenizer, seed=1)
    assert len(made.pairs) == 2
    assert made.lists is not None
    assert len(made.lists.passages) == 3


def test_cross_encoder_scores_are_the_models_own(
    table: PairTable, backbone: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from lsr.training.cross_encoder import CrossEncoder

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(backbone)
    config.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(tmp_path / "cross")
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    tokenizer.save_pretrained(tmp_path / "cross")
    teacher = CrossEncoderTeacher(
        name="x", model=str(tmp_path / "cross"), max_tokens=48, batch_pairs=3
    )
    queries, documents = np.array([0, 3]), np.array([[1, 2], [5, 0]])
    scores = CrossEncoder(teacher, table, CPU).scores(queries, documents)
    special = table.special
    for i in range(2):
        for j in range(2):
            q = table.queries.row(int(queries[i])).tolist()
            d = table.passages.row(int(documents[i, j])).tolist()
            ids = [special["cls"], *q, special["sep"], *d, special["sep"]]
            kinds = [0] * (len(q) + 2) + [1] * (len(d) + 1)
            with torch.no_grad():
                wanted = model(
                    input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([kinds])
                ).logits.item()
            assert scores[i, j].item() == pytest.approx(wanted, abs=1e-4)
