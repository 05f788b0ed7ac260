from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from indexing.build import build_index
from indexing.storage import IndexFolder
from lsr.core.errors import (
    ArgumentError,
    ArtifactCorruptedError,
    ArtifactNotFoundError,
    DocumentNotFoundError,
    QueryError,
    VocabularyMismatchError,
)
from lsr.encoders.encode import EncodeConfig, encode_collection
from lsr.encoders.lexical import LexicalEncoder
from serving.engine import Engine
from serving.queries import QueryEdits
from serving.results import Detail
from tests.serving.conftest import DOCUMENTS
from tests.serving.expanding import ExpandingEncoder


def test_scores_are_inner_products(engine: Engine, encoder: LexicalEncoder) -> None:
    answer = engine.search("super bowl york")
    query = encoder.encode_queries(["super bowl york"]).row(0)
    vectors = encoder.encode_documents([d.content for d in DOCUMENTS])
    expected = {d.doc_id: query.dot(vectors.row(at)) for at, d in enumerate(DOCUMENTS)}
    found = {hit.doc_id: hit.score for hit in answer.hits}
    assert found == pytest.approx({i: s for i, s in expected.items() if s > 0})


def test_what_hits_carry(engine: Engine) -> None:
    bare = engine.search("super", 1, detail=Detail(documents=False)).hits[0]
    assert bare.document is None and bare.highlights is None and bare.explanation is None
    whole = engine.search("super", 1, detail=Detail(highlights=True, explanation=True)).hits[0]
    assert whole.document == engine.document(whole.doc_id)
    assert whole.explanation is not None
    assert whole.explanation.score == pytest.approx(whole.score)
    for mark in whole.highlights or ():
        text = getattr(whole.document, mark.field)
        assert text[mark.start : mark.end].lower() == "super"


def test_edits_are_made_in_order(engine: Engine) -> None:
    plain = engine.queries.vector("super network")
    edits = QueryEdits(boost={"super": 3.0}, drop=["super"], add={"super": 1.5, "york": 2.0})
    edited = engine.queries.edited(plain, edits)
    weights = dict(zip(edited.terms.tolist(), edited.weights.tolist(), strict=True))
    term = engine.vocabulary.term
    network = plain.weights[plain.terms.tolist().index(term("network"))]
    assert weights == {term("super"): 1.5, term("york"): 2.0, term("network"): network}
    assert engine.queries.vector("super", QueryEdits(boost={"super": 0.0})).nnz == 0


def test_shown_terms_and_added_terms(index_path: Path, encoder: LexicalEncoder) -> None:
    expanding = ExpandingEncoder(encoder, {"bowl": "network"})
    engine = Engine(IndexFolder.open(index_path), expanding, name="toy")
    term = engine.vocabulary.term
    vector = engine.queries.vector("bowl")
    assert set(vector.terms.tolist()) == {term("bowl"), term("network")}
    assert engine.queries.shown_terms("a bowl, bowls") == {term("bowl"): [(2, 6), (8, 13)]}
    assert engine.queries.shown_terms({"network": 1.0}) == {term("network"): []}
    added = QueryEdits(add={"york": 1.0})
    assert engine.queries.shown_terms("bowl", added) == {term("bowl"): [(0, 4)], term("york"): []}
    engine.close()


def test_many_threads_get_what_one_gets(engine: Engine) -> None:
    queries = ["super bowl", "new york", "normandy", "network", "edison machine works"] * 20
    alone = [[(h.doc_id, h.score) for h in engine.search(q).hits] for q in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda q: engine.search(q).hits, queries))
    assert [[(h.doc_id, h.score) for h in hits] for hits in together] == alone


def test_an_index_can_be_replaced_while_searches_run(
    engine: Engine, encoder: LexicalEncoder, tmp_path: Path
) -> None:
    encode_collection(encoder, DOCUMENTS[:2], tmp_path / "vectors")
    smaller = build_index(tmp_path / "vectors", tmp_path / "index", corpus=DOCUMENTS[:2])
    assert engine.search("edison").hits[0].doc_id == "edison"
    before = engine.replace(smaller)
    assert engine.n_documents == 2
    assert [hit.doc_id for hit in engine.search("edison").hits] == ["tesla"]
    before.close()


def test_vocabularies_must_agree(engine: Engine, index_path: Path, tmp_path: Path) -> None:
    other = LexicalEncoder.fit(["entirely other words"])
    with IndexFolder.open(index_path) as folder, pytest.raises(VocabularyMismatchError) as caught:
        Engine(folder, other, name="toy")
    assert "'lexical'" in str(caught.value) and "'toy'" in str(caught.value)
    encode_collection(other, DOCUMENTS, tmp_path / "vectors")
    foreign = build_index(tmp_path / "vectors", tmp_path / "index")
    with foreign, pytest.raises(VocabularyMismatchError):
        engine.replace(foreign)
    # A query side that someone exchanged inside the folder.
    shutil.copytree(index_path, tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "query_encoder")
    shutil.copytree(tmp_path / "index" / "query_encoder", tmp_path / "mixed" / "query_encoder")
    with pytest.raises((VocabularyMismatchError, ArtifactCorruptedError)):
        Engine.open(tmp_path / "mixed")


@pytest.mark.parametrize("name", ["weights.npy", "ids.data.npy", "vocabulary.json"])
def test_a_truncated_file_is_told_at_the_start(index_path: Path, tmp_path: Path, name: str) -> None:
    copied = Path(shutil.copytree(index_path, tmp_path / "index"))
    file = copied / name
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ArtifactCorruptedError, match=name):
        Engine.open(copied)


def test_a_damaged_document_store_is_told_at_the_start(index_path: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(index_path, tmp_path / "index"))
    file = copied / "documents.sqlite"
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(ArtifactCorruptedError, match="documents.sqlite"):
        Engine.open(copied)


def test_no_index_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFoundError):
        Engine.open(tmp_path / "nothing")


def test_an_index_without_encoder_and_texts(index_path: Path, tmp_path: Path) -> None:
    with IndexFolder.open(index_path) as folder:
        engine = Engine(folder, None)
        with pytest.raises(QueryError, match="without a query encoder"):
            engine.search("super")
        hits = engine.search({"super": 1.0}, detail=Detail(explanation=True)).hits
        assert [hit.doc_id for hit in hits] == ["bowl", "emoji"]
        assert engine.shown_in("bowl") is None


def test_documents_that_are_not_there(engine: Engine) -> None:
    with pytest.raises(DocumentNotFoundError, match="'nobody'"):
        engine.document("nobody")
    with pytest.raises(DocumentNotFoundError, match="'nobody'"):
        engine.explain("super", "nobody")


@pytest.mark.parametrize("k", [0, 10**9])
def test_depth(engine: Engine, k: int) -> None:
    with pytest.raises(ArgumentError, match="k must be a whole number from 1 to 10,000"):
        engine.search("super", k)


def test_warm_up_measures_the_encoder(index_path: Path, encoder: LexicalEncoder) -> None:
    slow = ExpandingEncoder(encoder, {}, seconds=0.005)
    engine = Engine(IndexFolder.open(index_path), slow)
    engine.warm_up()
    assert engine.query_ms >= 5
    engine.close()


def test_a_word_that_added_nothing_to_the_score_is_not_marked(
    tmp_path: Path, encoder: LexicalEncoder
) -> None:
    heaviest = EncodeConfig(max_active_dims=1)
    encode_collection(encoder, DOCUMENTS, tmp_path / "vectors", config=heaviest)
    build_index(tmp_path / "vectors", tmp_path / "index", corpus=DOCUMENTS).close()
    engine = Engine.open(tmp_path / "index", name="one-term")
    try:
        for text in ("Tesla moved to New York and worked for Edison", "Normans gave Normandy"):
            answer = engine.search(text, k=5, detail=Detail(explanation=True, highlights=True))
            assert answer.hits
            for hit in answer.hits:
                assert hit.explanation is not None
                gave = {term.term for term in hit.explanation.terms}
                assert len(gave) == 1
                assert {mark.term for mark in hit.highlights or ()} <= gave
    finally:
        engine.close()
