from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from indexing.store import DocumentStore, write_documents
from lsr.core.errors import (
    ArtifactCorruptedError,
    DataError,
    DocumentNotFoundError,
    DuplicateIdError,
)
from lsr.core.records import Document
from lsr.core.strings import StringTable

DOCUMENTS = [
    Document("a", "first text", "First", {"year": 1953, "tags": ["x", "ü"]}),
    Document("b", "", ""),
    Document("ü c", "third\ntext \u0000 with a zero"),
    Document("d", "fourth"),
]
IDS = StringTable.from_strings([d.doc_id for d in DOCUMENTS])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DocumentStore]:
    # In another order than the rows, with one that has no vector.
    corpus = [DOCUMENTS[2], DOCUMENTS[0], Document("else", "x"), DOCUMENTS[1], DOCUMENTS[3]]
    assert write_documents(tmp_path / "d.sqlite", corpus, IDS) == 1
    with DocumentStore(tmp_path / "d.sqlite", IDS) as store:
        yield store


def test_reads_back_by_id_and_row(store: DocumentStore) -> None:
    assert list(store) == DOCUMENTS
    assert len(store) == 4
    assert store.get("ü c") == DOCUMENTS[2]
    assert store.get_row(1) == DOCUMENTS[1]
    assert store.get_rows([3, 0, 3]) == [DOCUMENTS[3], DOCUMENTS[0], DOCUMENTS[3]]
    assert store.get_rows([]) == []


def test_what_is_not_there(store: DocumentStore) -> None:
    with pytest.raises(DocumentNotFoundError, match="'else'"):
        store.get("else")
    with pytest.raises(DocumentNotFoundError, match="row 4"):
        store.get_rows([0, 4])
    assert store.get("a") == DOCUMENTS[0]


def test_many_threads_read_at_once(store: DocumentStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: store.get_rows([n % 4, (n + 1) % 4]), range(400)))
    assert all(rows == [DOCUMENTS[n % 4], DOCUMENTS[(n + 1) % 4]] for n, rows in enumerate(found))


def test_more_rows_than_one_statement_takes(tmp_path: Path) -> None:
    documents = [Document(f"d{n}", f"text {n}") for n in range(1203)]
    ids = StringTable.from_strings([d.doc_id for d in documents])
    assert write_documents(tmp_path / "d.sqlite", documents, ids) == 0
    with DocumentStore(tmp_path / "d.sqlite", ids) as store:
        backwards = list(range(1202, -1, -1))
        assert store.get_rows(backwards) == documents[::-1]


def test_missing_and_duplicate_documents(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks 2 of the index's 4 documents, the first is 'b'"):
        write_documents(tmp_path / "1", [DOCUMENTS[0], DOCUMENTS[2]], IDS)
    with pytest.raises(DuplicateIdError, match="'a' stands twice"):
        write_documents(tmp_path / "2", [*DOCUMENTS, DOCUMENTS[0]], IDS)


def test_documents_that_cannot_be_stored(tmp_path: Path) -> None:
    one = StringTable.from_strings(["a"])
    with pytest.raises(DataError, match="metadata of document 'a' is not JSON"):
        write_documents(tmp_path / "1", [Document("a", "t", "", {"x": object()})], one)
    with pytest.raises(DataError, match="not valid Unicode"):
        write_documents(tmp_path / "2", [Document("a", "\ud800")], one)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "d.sqlite").write_bytes(b"no database, but long enough to look like one" * 50)
    with pytest.raises(ArtifactCorruptedError, match="cannot be read"):
        DocumentStore(tmp_path / "d.sqlite", IDS)


def test_closing(tmp_path: Path) -> None:
    write_documents(tmp_path / "d.sqlite", DOCUMENTS, IDS)
    store = DocumentStore(tmp_path / "d.sqlite", IDS)
    store.close()
    with pytest.raises(ArtifactCorruptedError, match="closed"):
        store.get("a")
    # An abandoned store leaves no open connection (warnings are errors here).
    DocumentStore(tmp_path / "d.sqlite", IDS)
    gc.collect()
