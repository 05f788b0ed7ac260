"""Whatever stands in a file, a reader gives records or one of our errors, never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.core.errors import LsrError
from lsr.core.vocabulary import Vocabulary
from lsr.data.bad_lines import BadLines
from lsr.data.examples import (
    read_examples,
    read_hard_negatives,
    read_id_triples,
    read_scored_lists,
    read_text_triples,
)
from lsr.data.interchange.anserini import read_topics
from lsr.data.interchange.csr import read_csr
from lsr.data.interchange.lsr_benchmark import read_lsr_benchmark
from lsr.data.jsonl import read_documents, read_queries
from lsr.data.msmarco import read_tsv_documents, read_tsv_queries
from lsr.data.pairs import read_pairs
from lsr.data.qrels import read_any_qrels
from lsr.data.vector_jsonl import read_vectors

VOCABULARY = Vocabulary(["a", "b"])
Reader = Callable[[Path, BadLines], Iterable[Any]]
LINE_READERS: dict[str, Reader] = {
    "documents": lambda path, bad: read_documents(path, bad=bad),
    "queries": lambda path, bad: read_queries(path, bad=bad),
    "qrels": lambda path, bad: read_any_qrels(path, bad=bad),
    "tsv documents": lambda path, bad: read_tsv_documents(path, bad=bad),
    "tsv queries": lambda path, bad: read_tsv_queries(path, bad=bad),
    "vectors": lambda path, bad: read_vectors(path, VOCABULARY, bad=bad),
    "topics": lambda path, bad: read_topics(path, VOCABULARY, bad=bad),
    "pairs": lambda path, bad: read_pairs([path], bad=bad),
    "examples": lambda path, bad: read_examples(path, bad=bad),
    "text triples": lambda path, bad: read_text_triples(path, bad=bad),
    "id triples": lambda path, bad: read_id_triples(path, bad=bad),
    "scored lists": lambda path, bad: read_scored_lists(path, bad=bad),
    "hard negatives": lambda path, bad: read_hard_negatives(path, bad=bad),
}

# Pieces that mean something to some reader, so that lines get past its first check.
pieces = st.sampled_from(
    [
        *("{", "}", "[", "]", '"', ":", ",", "\t", " ", "\n", "\r", "\\ud800", "\\u0000", "\x00"),
        *("_id", "text", "title", "id", "vector", "query", "positive", "negatives", "scores"),
        *("qid", "pos", "neg", "a", "b", "0", "1", "-1", "1e400", "NaN", "null", "true", "\ufeff"),
        '{"_id": "1", "text": "x"}',
        '{"id": 1, "vector": {"a": 1}}',
        '{"query": "q", "positive": "p", "scores": [1]}',
        '{"qid": 1, "pos": [2], "neg": {"s": [3]}}',
        '["1", ["2", 3]]',
        "1\t2\t1",
        "1 0 2 1",
    ]
)
texts = st.lists(pieces, max_size=12).map("".join).map(lambda text: text.encode())
contents = texts | st.binary(max_size=60) | st.tuples(texts, st.binary(max_size=8)).map(b"".join)


@pytest.mark.parametrize("name", LINE_READERS)
@given(content=contents, budget=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_readers_of_lines(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes, budget: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    bad = BadLines(budget)
    try:
        list(LINE_READERS[name](path, bad))
    except LsrError as error:
        assert str(path) in error.message
    assert bad.n_skipped <= budget


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@given(content=st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_compressed_files(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.jsonl{suffix}"
    magic = {".gz": b"\x1f\x8b\x08", ".zst": b"\x28\xb5\x2f\xfd"}[suffix]
    for start in (b"", magic):
        path.write_bytes(start + content)
        try:
            list(read_documents(path))
        except LsrError as error:
            assert str(path) in error.message


@given(content=st.binary(max_size=120), numbers=st.lists(st.integers(-5, 9), max_size=12))
@settings(max_examples=40, deadline=None)
def test_binary_formats(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, numbers: list[int]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    header = b"".join(n.to_bytes(8, "little", signed=True) for n in numbers)
    for raw in (content, header + content, header):
        (folder / "any.csr").write_bytes(raw)
        (folder / "any-embeddings.npz").write_bytes(raw)
        (folder / "any-ids.txt").write_text("a\nb\n")
        for read in (read_csr, read_lsr_benchmark):
            name = "any.csr" if read is read_csr else "any-embeddings.npz"
            try:
                list(read(folder / name))
            except LsrError:
                continue


@given(content=st.binary(max_size=120))
@settings(max_examples=100, deadline=None)
def test_ciff(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    pytest.importorskip("google.protobuf")
    from lsr.data.interchange.ciff import read_ciff

    path = tmp_path_factory.getbasetemp() / "any.ciff"
    path.write_bytes(content)
    try:
        read_ciff(path)
    except LsrError as error:
        assert str(path) in error.message
