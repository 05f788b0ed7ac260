import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lsr.commands import register
from lsr.core.errors import ArgumentError, ArtifactExistsError, RecordError
from lsr.encoders import Encoder, load_encoder
from lsr.encoders.expansion import append_terms, expansion_terms
from tests.helpers.tiny_model import tiny_masked_lm

run = CliRunner()


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer()
    register(made)
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_lm(tmp_path_factory.mktemp("model"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    lines = [
        {"_id": "1", "text": "The cat sat on the mat.", "year": 2001},
        {"_id": "2", "text": "wool"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_new_terms_are_the_heaviest_that_the_text_lacks(model: Path) -> None:
    encoder = load_encoder(model, device="cpu", dtype="float32")
    assert isinstance(encoder, Encoder)
    text = "The cat sat on the mat."
    (terms,) = expansion_terms(encoder, [text], 5)
    row = encoder.encode_documents([text]).row(0)
    weight = {
        encoder.vocabulary.token(int(t)): w for t, w in zip(row.terms, row.weights, strict=True)
    }
    assert len(terms) == 5
    assert not {"the", "cat", "sat", "on", "mat"} & set(terms)
    assert all(term.isalnum() for term in terms)
    values = [weight[term] for term in terms]
    assert values == sorted(values, reverse=True)
    (more,) = expansion_terms(encoder, [text], 500)
    lacking = {t for t in weight if len(t) > 1 and t.isalnum() and t not in text.lower()}
    assert set(more) == lacking
    assert append_terms("wool", ["warm", "mat"]) == "wool warm mat"
    assert append_terms("wool", []) == "wool"


def test_a_corpus_is_expanded_and_keeps_its_other_fields(
    app: typer.Typer, model: Path, corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ["data", "expand", str(corpus), "-e", str(model), "--terms", "3", "-o", str(out)]
    report = json.loads(run.invoke(app, [*arguments, "--json", "-q"]).stdout)
    assert report["n_texts"] == 2
    first, second = read(out)
    assert str(first["text"]).startswith("The cat sat on the mat. ")
    assert len(str(second["text"]).split()) == 4
    assert first["year"] == 2001
    assert isinstance(run.invoke(app, arguments).exception, ArtifactExistsError)


def test_terms_from_a_file(app: typer.Typer, corpus: Path, tmp_path: Path) -> None:
    given = tmp_path / "terms.jsonl"
    given.write_text('{"_id": "2", "terms": ["sheep", "warm", "knit"]}\n')
    out = tmp_path / "out.jsonl"
    arguments = ["data", "expand", str(corpus), "--from", str(given), "--terms", "2"]
    report = json.loads(run.invoke(app, [*arguments, "-o", str(out), "--json", "-q"]).stdout)
    assert [record["text"] for record in read(out)] == [
        "The cat sat on the mat.",
        "wool sheep warm",
    ]
    assert report["n_texts_without_terms"] == 1
    given.write_text('{"_id": "2", "terms": "sheep"}\n')
    broken = run.invoke(app, [*arguments, "-o", str(tmp_path / "b.jsonl")])
    assert isinstance(broken.exception, RecordError)
    assert not (tmp_path / "b.jsonl").exists()


def test_wrong_use(app: typer.Typer, model: Path, corpus: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.jsonl")
    neither = run.invoke(app, ["data", "expand", str(corpus), "-o", out])
    assert isinstance(neither.exception, ArgumentError)
    other = run.invoke(
        app, ["data", "expand", str(corpus), "-e", str(model), "--field", "positive", "-o", out]
    )
    assert isinstance(other.exception, RecordError)
    assert "--field" in other.exception.hint
