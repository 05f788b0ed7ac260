"""Highlights: where terms come from if that was kept, where the text shows them if not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from indexing.build import build_index
from indexing.collection import Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_load import load_batches
from indexing.storage import IndexFolder
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.encoders.encode import EncodeConfig, encode_collection
from lsr.encoders.lexical import LexicalEncoder
from serving.app import create_app
from serving.collection_source import CollectionSource
from serving.engine import Engine
from serving.highlight import Highlight, find_highlights, find_origins
from serving.settings import ServeSettings
from tests.serving.conftest import DOCUMENTS
from tests.serving.expanding import ExpandingEncoder

WORDS = st.text("ab 🏈", max_size=12)


@given(title=WORDS, text=WORDS, data=st.data())
def test_offsets_in_the_content_become_offsets_in_a_field(
    title: str, text: str, data: st.DataObject
) -> None:
    document = Document("d", text, title)
    content = document.content
    words = [at for at, c in enumerate(content) if not c.isspace()]
    if not words:
        return
    start = data.draw(st.sampled_from(words))
    end = start + 1
    while end in words and data.draw(st.booleans()):
        end += 1
    origins = np.array([7], np.int32), Origins(np.array([start]), np.array([end]))
    (found,) = find_origins(document, [7], origins)
    shown = getattr(document, found.field)[found.start : found.end]
    assert shown == content[start:end]
    assert found.origin
    assert found.term == 7


def test_terms_without_a_piece_fall_back_to_what_shows_them() -> None:
    document = Document("d", "one two two")
    origins = (
        np.array([2, 5, 9], np.int32),
        Origins(np.array([4, 0, 0]), np.array([7, 0, 3])),
    )
    from_text = find_origins(document, [9, 5, 2, 11], origins)
    assert from_text == [Highlight("text", 0, 3, 9, True), Highlight("text", 4, 7, 2, True)]
    shown = [
        Highlight("text", 0, 3, 5), Highlight("text", 4, 7, 2), Highlight("text", 8, 11, 2),
    ]  # fmt: skip
    assert find_highlights(shown, from_text) == [
        Highlight("text", 0, 3, 5),
        Highlight("text", 0, 3, 9, True),
        Highlight("text", 4, 7, 2, True),
    ]


@pytest.fixture(scope="module")
def expanding(encoder: LexicalEncoder) -> ExpandingEncoder:
    return ExpandingEncoder(encoder, {"bowl": "network", "york": "edison"})


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, expanding: ExpandingEncoder
) -> Iterator[TestClient]:
    """The same documents as an index folder and as live collections, with and without origins."""
    root = tmp_path_factory.mktemp("highlight")
    vectors = encode_collection(
        expanding, DOCUMENTS, root / "vectors", config=EncodeConfig(positions=True)
    )
    build_index(root / "vectors", root / "index", corpus=DOCUMENTS).close()
    collections = {}
    for name, positions in (("live", True), ("plain", False)):
        collections[name] = Collection.create(
            root / name,
            vectors.vocabulary,
            config=CollectionConfig(positions=positions),
            encoder=expanding.name,
            idf="query",
        )
    collections["live"].load(load_batches(vectors, iter(DOCUMENTS), 2))
    collections["plain"].load(load_batches(vectors, None, 100))
    collections["plain"].upsert(
        DOCUMENTS, expanding.encode_documents([d.content for d in DOCUMENTS])
    )
    engines = [
        Engine(IndexFolder.open(root / "index"), expanding, name="index"),
        *(Engine(CollectionSource(c), expanding, name=n) for n, c in collections.items()),
    ]
    settings = ServeSettings(threads=2, allowed_hosts=("testserver",), access_log=False)
    with TestClient(create_app(settings, engines=engines)) as made:
        yield made


def ask(client: TestClient, name: str, query: str) -> dict[str, Any]:
    body = {"query": query, "k": 5, "highlight": True, "explain": True}
    answer = client.post(f"/v1/indexes/{name}/search", json=body)
    assert answer.status_code == 200, answer.text
    return {hit["doc_id"]: hit for hit in answer.json()["hits"]}


def pieces(hit: dict[str, Any]) -> set[tuple[str, str, str, bool]]:
    return {
        (h["token"], h["field"], hit["document"][h["field"]][h["start"] : h["end"]], h["origin"])
        for h in hit["highlights"]
    }


@pytest.mark.parametrize("name", ["index", "live"])
def test_an_added_term_shows_where_it_comes_from(client: TestClient, name: str) -> None:
    tesla = ask(client, name, "edison networks")["tesla"]
    # "York" brought "edison" along; the text shows "Edison" too, elsewhere.
    assert ("edison", "text", "York", True) in pieces(tesla)
    bowl = ask(client, name, "networks")["bowl"]
    assert pieces(bowl) == {("network", "title", "Bowl", True)}
    in_document = {term["token"]: term["in_document"] for term in bowl["explanation"]}
    assert in_document == {"network": True}  # shown, whatever it comes from


def test_without_positions_the_text_is_marked_where_it_shows_a_term(client: TestClient) -> None:
    tesla = ask(client, "plain", "edison")["tesla"]
    assert pieces(tesla) == {("edison", "text", "Edison", False)}


def test_what_is_written_over_http_keeps_its_positions(client: TestClient) -> None:
    body = {"documents": [{"doc_id": "new", "title": "York", "text": "A town."}]}
    assert client.post("/v1/indexes/live/documents", json=body).status_code == 200
    assert pieces(ask(client, "live", "edison")["new"]) == {("edison", "title", "York", True)}
    assert client.post("/v1/indexes/plain/documents", json=body).status_code == 200
    assert pieces(ask(client, "plain", "edison")["new"]) == set()


def test_a_folder_on_its_own_says_whether_it_has_them(index_path: Path) -> None:
    with IndexFolder.open(index_path) as folder:
        assert folder.documents is not None
        assert not folder.documents.has_origins
