"""The encoders that ship, as a user gets them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lsr.encoders
from lsr.data.toy import load_toy
from lsr.encoders import Encoder, LexicalChannelEncoder, load_encoder

FOLDER = Path(lsr.encoders.__file__).parent / "pretrained"


@pytest.fixture(scope="module", params=["lsr-mini", "lsr-tiny"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    loaded = load_encoder(request.param)
    assert isinstance(loaded, Encoder)
    return loaded


def test_all_are_small_together() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 48 * 2**20


def test_it_says_where_it_comes_from(encoder: Encoder) -> None:
    card = (FOLDER / encoder.name / "README.md").read_text(encoding="utf-8")
    for what in ("Apache-2.0", "all-MiniLM-L6-v2", f"lsr train {encoder.name}", "msmarco_mini"):
        assert what in card


def test_neither_loading_nor_encoding_imports_torch() -> None:
    code = (
        "import sys; from lsr.encoders import load_encoder; e = load_encoder('lsr-mini');"
        "q = e.encode_queries(['what do plants need']); d = e.encode_documents(['Plants need sun.']);"
        "print(q.nnz, d.nnz, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    n_query, n_document, *loaded = done.stdout.split()
    assert int(n_query) == 8  # four word pieces, four stems
    assert int(n_document) > 8
    assert loaded == ["False", "False"]


def test_a_repeated_query_word_counts_more(encoder: Encoder) -> None:
    once, twice = (
        encoder.encode_queries([text]).row(0)
        for text in ("energy of light", "energy energy of light")
    )
    assert np.array_equal(once.terms, twice.terms)
    changed = np.flatnonzero(once.weights != twice.weights)
    tokens = [encoder.vocabulary.token(int(term)) for term in once.terms[changed]]
    assert tokens == ["energy", "energi*"]
    assert twice.weights[changed] == pytest.approx(2 * once.weights[changed])


def test_a_rare_name_finds_its_document_as_it_is_written(encoder: Encoder) -> None:
    """Both names come apart into pieces; neither stands in the lexical channel's vocabulary."""
    names = ["Zkvortlenia", "Zkvortlemia"]
    assert isinstance(encoder, LexicalChannelEncoder)
    known = set(encoder.lexical.vocabulary.tokens)
    assert not {name.lower() for name in names} & known
    documents = encoder.encode_documents([f"The history of {name}." for name in names]).to_scipy()
    for row, name in enumerate(names):
        query = encoder.encode_queries([f"history of {name}"]).to_scipy()
        scores = (query @ documents.T).toarray()[0]
        assert scores.argmax() == row
        learned = len(encoder.learned.vocabulary)
        lexical = (query[:, learned:] @ documents[:, learned:].T).toarray()[0]
        assert lexical[row] > lexical[1 - row]


def test_a_document_keeps_at_most_256_terms(encoder: Encoder) -> None:
    text = " ".join(document.content for document in list(load_toy().documents())[:4])
    assert encoder.encode_documents([text]).nnz == 256


def test_the_learned_part_is_an_encoder_too(encoder: Encoder) -> None:
    assert isinstance(encoder, LexicalChannelEncoder)
    alone = load_encoder(f"{encoder.name}/learned")
    assert alone.fingerprint == encoder.learned.fingerprint
    assert len(alone.vocabulary) == 30_522


def test_it_expands_and_ranks(encoder: Encoder) -> None:
    toy = load_toy()
    relevant = {qrel.query_id: qrel.doc_id for qrel in toy.qrels("test") if qrel.relevance > 0}
    queries = [query for query in toy.queries("test") if query.query_id in relevant][:30]
    wanted = {relevant[query.query_id] for query in queries}
    documents = [document for document in toy.documents() if document.doc_id in wanted]
    matrix = encoder.encode_documents([document.content for document in documents])
    scores = (
        encoder.encode_queries([query.text for query in queries]).to_scipy() @ matrix.to_scipy().T
    )
    best = np.asarray(scores.toarray()).argmax(axis=1)
    right = [
        documents[row].doc_id == relevant[query.query_id]
        for row, query in zip(best, queries, strict=True)
    ]
    assert np.mean(right) >= 0.8
    # Terms that stand nowhere in the text: what a learned encoder is for.
    row = encoder.encode_documents(["The physician prescribed an antibiotic."]).row(0)
    tokens = {encoder.vocabulary.token(term) for term in row.terms.tolist()}
    assert tokens & {"doctor", "doctors", "medicine", "medical", "drug", "drugs", "patient"}


def test_its_manifest_stands(encoder: Encoder) -> None:
    manifest = json.loads((FOLDER / encoder.name / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["details"]["name"] == encoder.name
