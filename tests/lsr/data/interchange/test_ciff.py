from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsr.core.errors import DataError, MissingDependencyError
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.data.interchange import ciff
from lsr.data.interchange.ciff import read_ciff, write_ciff
from lsr.data.interchange.impacts import to_impacts
from lsr.data.vector_jsonl import iter_rows
from lsr.data.vectors import VectorCollection
from tests.lsr.data.interchange.conftest import SIZE, TOKENS, exact_top

pytest.importorskip("google.protobuf")


def write_messages(path: Path, *messages: Any) -> Path:
    from google.protobuf import proto

    with open(path, "wb") as sink:
        for message in messages:
            proto.serialize_length_prefixed(message, sink)
    return path


def small(path: Path, gaps: list[int], *, documents: tuple[int, ...] = (0, 1)) -> Path:
    """Write a file of one token, made from the messages directly."""
    kinds = ciff._messages()
    postings = [kinds["Posting"](docid=gap, tf=3) for gap in gaps]
    return write_messages(
        path,
        kinds["Header"](version=1, num_postings_lists=1, num_docs=len(documents)),
        kinds["PostingsList"](term="a", df=len(gaps), postings=postings),
        *(kinds["DocRecord"](docid=d, collection_docid=f"d{d}") for d in documents),
    )


def test_what_is_written_is_the_index(tmp_path: Path, collection: VectorCollection) -> None:
    path = tmp_path / "c.ciff"
    nnz = write_ciff(collection, path, scale=50)
    index = read_ciff(path)
    rows = [to_impacts(row, 50) for _, row in iter_rows(collection)]
    assert nnz == sum(row.nnz for row in rows) == index.matrix.nnz
    assert list(index.doc_ids) == list(collection.doc_ids())
    # Lists stand in the order of the tokens' bytes; the unused token has none.
    assert list(index.vocabulary.tokens) == sorted(TOKENS[:-1], key=str.encode)
    named = read_ciff(path, vocabulary=collection.vocabulary)
    assert list(named.matrix) == rows


def test_the_bytes_are_those_of_the_published_messages(tmp_path: Path) -> None:
    """One file by hand: varints and tags as protobuf's wire format has them."""
    header = bytes([0x08, 1, 0x10, 1, 0x18, 2, 0x20, 1, 0x28, 2, 0x30, 5])
    header += bytes([0x42, 1]) + b"x"
    postings = bytes([0x0A, 1]) + b"t" + bytes([0x10, 2, 0x18, 5])
    postings += bytes([0x22, 2, 0x10, 2]) + bytes([0x22, 4, 0x08, 1, 0x10, 3])
    records = [bytes([0x12, 2]) + b"d0", bytes([0x08, 1, 0x12, 2]) + b"d1"]
    content = b"".join(bytes([len(m)]) + m for m in (header, postings, *records))
    path = tmp_path / "hand.ciff"
    path.write_bytes(content)
    index = read_ciff(path)
    assert index.description == "x"
    assert index.doc_ids == ["d0", "d1"]
    assert index.vocabulary.tokens == ("t",)
    assert index.matrix.weights.tolist() == [2, 3]
    assert index.matrix.indptr.tolist() == [0, 1, 2]


def test_files_that_are_damaged_or_none(tmp_path: Path, collection: VectorCollection) -> None:
    path = tmp_path / "c.ciff"
    write_ciff(collection, path)
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="cut off"):
            read_ciff(path)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(DataError, match="no CIFF file"):
        read_ciff(path)
    with pytest.raises(DataError, match="No file at"):
        read_ciff(tmp_path / "none.ciff")


def test_contradictions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.ciff"
    assert read_ciff(small(path, [0, 1])).matrix.weights.tolist() == [3, 3]
    for gaps in ([0, 0], [2], [1, -1], [-1]):
        with pytest.raises(DataError, match="documents of 'a' do not ascend below 2"):
            read_ciff(small(path, gaps))
    with pytest.raises(DataError, match="records are not numbered 0 to 1"):
        read_ciff(small(path, [0], documents=(0, 2)))
    with pytest.raises(DataError, match="token 'a' is not in the vocabulary of 1"):
        read_ciff(small(path, [0]), vocabulary=Vocabulary(["b"]))


def test_without_protobuf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ciff._messages.cache_clear()
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(MissingDependencyError, match=r"lsr-search\[interchange\]"):
        read_ciff(tmp_path / "x.ciff")


def test_bmp_reads_it_and_finds_the_same(
    tmp_path: Path,
    collection: VectorCollection,
    rng: np.random.Generator,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bmp = pytest.importorskip("bmp")
    path = tmp_path / "c.ciff"
    # BMP keeps impacts in 8 bits, and scales a query so that its heaviest term weighs 32.
    write_ciff(collection, path, scale=80)
    bmp.ciff2bmp(ciff_file=str(path), output=str(tmp_path / "c.bmp"), bsize=8, compress_range=False)
    searcher = bmp.Searcher(str(tmp_path / "c.bmp"))
    names = list(collection.doc_ids())
    rows = [to_impacts(row, 80) for _, row in iter_rows(collection)]
    for _ in range(20):
        terms = np.sort(rng.choice(SIZE - 1, 6, replace=False))
        weights = rng.integers(1, 32, 6)
        weights[rng.integers(6)] = 32
        query = SparseVector.from_arrays(terms, weights, SIZE)
        expected, scores = exact_top(rows, query, 10)
        named = {TOKENS[t]: int(w) for t, w in zip(terms.tolist(), weights.tolist(), strict=True)}
        found, found_scores = searcher.search(named, k=10, alpha=1.0, beta=1.0)
        assert found_scores == scores
        # At equal scores the two may order differently: compare what is above the last score.
        above = [names[r] for r, s in zip(expected, scores, strict=True) if s > scores[-1]]
        assert set(above) <= set(found)
    capfd.readouterr()
