"""A live collection beside its dict: writes, readers in this and other processes, threads."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexing.collection import Batch, Collection, UpsertResult
from indexing.collection_config import CollectionConfig
from indexing.collection_copies import restore, snapshot, verify
from indexing.exact import ExactIndex
from lsr.core.errors import (
    ArgumentError,
    ArtifactExistsError,
    ArtifactNotFoundError,
    CollectionLockedError,
    DataError,
    DocumentNotFoundError,
    LsrError,
    StorageError,
    VocabularyMismatchError,
)
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix, SparseVector
from lsr.core.vocabulary import Vocabulary
from tests.helpers.live_model import FIELDS, LiveModel, memory_folder, require_same
from tests.helpers.strategies import random_matrix

N_TERMS = 60
VOCABULARY = Vocabulary(f"t{n}" for n in range(N_TERMS))


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as path:
        yield Path(path)


def create(path: Path, *, background: bool = False, **config: object) -> Collection:
    return Collection.create(
        path,
        VOCABULARY,
        config=CollectionConfig.model_validate({"fields": FIELDS, **config}),
        encoder="test",
        idf="none",
        background=background,
    )


@pytest.fixture
def live(folder: Path) -> Iterator[Collection]:
    with create(folder / "live") as collection:
        yield collection


def documents(start: int, stop: int, text: str = "text") -> list[Document]:
    return [
        Document(f"d-{n}", f"{text} {n}", "", {"year": 1990 + n % 9}) for n in range(start, stop)
    ]


def vector(*terms: int, weight: float = 1.0) -> SparseVector:
    return SparseVector.from_mapping(dict.fromkeys(terms, weight), N_TERMS)


def test_a_write_is_searchable_at_once(live: Collection) -> None:
    assert live.upsert([Document("a", "x"), Document("b", "y")], [vector(1), vector(1, 2)]) == (
        2,
        0,
    )
    assert live.search(vector(1)).doc_ids == ["a", "b"]
    assert live.search(vector(2)).doc_ids == ["b"]
    assert live.upsert([Document("a", "z")], [vector(2, weight=2.0)]) == UpsertResult(0, 1)
    found = live.search(vector(2), with_documents=True)
    assert found.doc_ids == ["a", "b"]
    assert found.documents == [Document("a", "z"), Document("b", "y")]
    assert live.delete(["a", "nobody"]) == 1
    assert live.search(vector(2)).doc_ids == ["b"]
    assert "a" not in live
    assert "b" in live
    assert len(live) == 1


def test_equal_scores_come_in_the_order_of_writing(live: Collection) -> None:
    live.upsert([Document(i, "") for i in "cab"], [vector(1)] * 3)
    live.seal()
    live.upsert([Document("d", ""), Document("a", "")], [vector(1)] * 2)
    assert live.search(vector(1)).doc_ids == ["c", "b", "d", "a"]
    assert live.search(vector(1), 2).doc_ids == ["c", "b"]


def test_of_two_with_one_id_the_later_counts(live: Collection) -> None:
    assert live.upsert([Document("a", "1"), Document("a", "2")], [vector(1), vector(2)]) == (1, 0)
    assert live.document("a").text == "2"
    assert live.search(vector(1)).doc_ids == []


def test_documents_vectors_and_explanations(live: Collection) -> None:
    live.upsert([Document("a", "x", "t", {"year": 1999})], [vector(1, 2, weight=0.5)])
    assert live.document("a") == Document("a", "x", "t", {"year": 1999})
    assert live.documents(["b", "a"]) == [None, live.document("a")]
    assert live.vector("a") == vector(1, 2, weight=0.5)
    explanation = live.explain(vector(2, 3), "a")
    assert [line.token for line in explanation.terms] == ["t2"]
    assert explanation.score == 0.5
    with pytest.raises(DocumentNotFoundError, match="no document 'b'"):
        live.document("b")
    with pytest.raises(DocumentNotFoundError):
        live.vector("b")


def test_why_a_document_was_not_found(live: Collection) -> None:
    live.upsert([Document(i, "") for i in "abc"], [vector(1, weight=w) for w in (3.0, 2.0, 1.0)])
    live.seal()
    live.upsert([Document("d", ""), Document("e", "")], [vector(1, weight=0.5), vector(2)])
    query = vector(1)
    assert live.why_not(query, "b", 2).rank == 2
    assert live.why_not(query, "b", 2).reason == "found"
    for doc_id, score in (("c", 1.0), ("d", 0.5)):
        absence = live.why_not(query, doc_id, 2)
        assert (absence.reason, absence.score, absence.kth_score) == ("below_kth_score", score, 2.0)
    assert live.why_not(query, "e", 2).reason == "no_shared_term"
    live.upsert([Document("f", ""), Document("g", "")], [vector(1, weight=2.0)] * 2)
    live.seal()
    for doc_id in "fg":
        assert "only ties with" in live.why_not(query, doc_id, 2).message
    with pytest.raises(DocumentNotFoundError):
        live.why_not(query, "nobody")


def test_what_breaks_a_rule_is_refused_and_nothing_is_written(live: Collection) -> None:
    good = Document("good", "")
    with pytest.raises(DataError, match="2 documents but 1 vectors"):
        live.upsert([good, good], [vector(1)])
    with pytest.raises(DataError, match="empty doc_id"):
        live.upsert([good, Document("", "")], [vector(1)] * 2)
    with pytest.raises(DataError, match="not JSON"):
        live.upsert([good, Document("a", "", "", {"x": {1, 2}})], [vector(1)] * 2)
    with pytest.raises(DataError, match="not valid Unicode"):
        live.upsert([good, Document("a", "\ud800")], [vector(1)] * 2)
    with pytest.raises(DataError, match="field 'year' is a number"):
        live.upsert([good, Document("a", "", "", {"year": "old"})], [vector(1)] * 2)
    with pytest.raises(DataError, match="vocabulary size"):
        live.upsert([good], [SparseVector.from_mapping({1: 1.0}, 5)])
    with pytest.raises(DataError, match="columns"):
        live.upsert([good], SparseMatrix.from_rows([SparseVector.from_mapping({1: 1.0}, 5)], 5))
    assert len(live) == 0
    with pytest.raises(VocabularyMismatchError):
        live.search(SparseVector.from_mapping({1: 1.0}, 5))
    with pytest.raises(ArgumentError):
        live.search(vector(1), 0)
    with pytest.raises(ArgumentError, match="takes no parameters, got dict"):
        live.search(vector(1), params={"x": 1})


def test_large_heads_and_many_segments_are_one_exact_index(
    folder: Path, rng: np.random.Generator
) -> None:
    matrix = random_matrix(rng, 3000, N_TERMS, 9)
    queries = random_matrix(rng, 15, N_TERMS, 6)
    exact = ExactIndex.from_matrix(matrix)
    config = {"seal_at": 1100, "merge_factor": 2}
    with create(folder / "live", **config) as live, Collection.open(folder / "live") as reader:
        at = 0
        for size in (700, 1, 300, 99, 640, 260, 1000):
            live.upsert(documents(at, at + size), matrix.rows(at, at + size))
            at += size
            assert reader.n_documents == at
        for each in (live, reader):
            for query, result in zip(queries, each.search_batch(queries, 20), strict=True):
                expected = exact.search(query, 20)
                assert result.numbers.tolist() == expected.rows.tolist()
                assert result.scores.tobytes() == expected.scores.tobytes()
                assert result.doc_ids == [f"d-{row}" for row in expected.rows]


def test_bulk_loads_go_straight_into_segments(folder: Path, rng: np.random.Generator) -> None:
    model = LiveModel()
    matrix = random_matrix(rng, 90, N_TERMS, 9)
    told: list[int] = []
    with create(folder / "live") as live:
        live.upsert(documents(0, 10, "old"), matrix.rows(0, 10))
        batches = [(documents(at, at + 30), matrix.rows(at, at + 30)) for at in (0, 30, 60)]
        assert live.load(batches, on_batch=told.append) == (80, 10)
        for document, row in zip(documents(0, 90), matrix, strict=True):
            model.upsert(document, row)
        assert told == [30, 30, 30]
        assert live.stats()["head_documents"] == 0
        require_same(live, model, [matrix.row(3)])
    with Collection.open(folder / "live") as reader:
        require_same(reader, model, [matrix.row(3)])


def test_one_process_writes_and_others_read(folder: Path) -> None:
    path = folder / "live"
    reads = (
        "import sys; from pathlib import Path; from indexing.collection import Collection\n"
        "from lsr.core.sparse import SparseVector\n"
        "from lsr.core.errors import CollectionLockedError\n"
        "path = Path(sys.argv[1])\n"
        "try:\n    Collection.open(path, mode='w'); raise SystemExit('two writers')\n"
        "except CollectionLockedError:\n    pass\n"
        "with Collection.open(path) as c:\n"
        "    q = SparseVector.from_mapping({1: 1.0}, 60)\n"
        "    for line in sys.stdin:\n"
        "        print(','.join(c.search(q, 100).doc_ids), flush=True)\n"
    )
    with create(path, seal_at=4) as live:
        live.upsert([Document("a", "")], [vector(1)])
        child = subprocess.Popen(
            [sys.executable, "-c", reads, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None

        def seen() -> str:
            child.stdin.write("\n")
            child.stdin.flush()
            return child.stdout.readline().strip()

        assert seen() == "a"
        live.upsert([Document("b", ""), Document("c", "")], [vector(1)] * 2)
        assert seen() == "a,b,c"
        live.delete(["b"])
        live.seal()
        assert seen() == "a,c"
        live.upsert([Document("a", "")], [vector(1)])
        live.merge()
        assert seen() == "c,a"
        # The child looked again, so nobody needs the segments of before.
        live.sweep()
        assert len(list((path / "segments").iterdir())) == 1
        child.stdin.close()
        assert child.wait(30) == 0
        child.stdout.close()


def test_a_reader_that_slept_while_a_segment_came_died_and_went(folder: Path) -> None:
    """The tombstones of the segment went with it: the old head must not show its rows."""
    path = folder / "live"
    with create(path) as live, Collection.open(path) as reader:
        live.upsert(documents(0, 3), [vector(1)] * 3)
        assert len(reader.search(vector(1))) == 3
        live.seal()
        live.upsert(documents(0, 3, "new"), [vector(1)] * 3)
        live.maintain()
        assert live.stats()["segments"] == []
        found = reader.search(vector(1), with_documents=True)
        assert [d.text for d in found.documents or ()] == ["new 0", "new 1", "new 2"]
        live.seal()
        live.delete(["d-1"])
        assert reader.search(vector(1)).doc_ids == ["d-0", "d-2"]


def test_groups_are_written_together_each_whole_or_not_at_all(live: Collection) -> None:
    live.upsert(documents(0, 3), [vector(1)] * 3)
    generation = live.view().generation
    results = live.upsert_groups(
        [
            Batch(documents(2, 5), [vector(2)] * 3),
            Batch([Document("bad", "", "", {"year": "no number"})], [vector(2)]),
            Batch(documents(4, 6, "newer"), [vector(2), vector(3)]),
            Batch([Document("d-4", "newest", "", {"colour": "red"})], [vector(2)]),
            Batch([Document("e", "", "", {"colour": 7})], [vector(2)]),
            Batch(documents(9, 10), []),
        ]
    )
    assert results[0] == UpsertResult(2, 1)
    assert results[2] == UpsertResult(1, 1)
    assert results[3] == UpsertResult(0, 1)
    # Wrong for itself, for what an earlier group fixed, for its vectors.
    assert [type(results[at]) for at in (1, 4, 5)] == [DataError] * 3
    assert live.view().generation == generation + 1
    found = live.search(vector(2), 10, with_documents=True)
    assert [(d.doc_id, d.text) for d in found.documents or ()] == [
        ("d-2", "text 2"),
        ("d-3", "text 3"),
        ("d-4", "newest"),
    ]
    assert live.search(vector(3)).doc_ids == ["d-5"]
    assert len(live) == 6
    live.seal()
    live.merge()
    assert verify(live.path) == []
    with Collection.open(live.path) as reader:
        assert reader.search(vector(2)).doc_ids == ["d-2", "d-3", "d-4"]
        assert len(reader) == 6
    assert live.upsert_groups([]) == []


def test_origins_live_and_die_with_their_vectors(folder: Path) -> None:
    def packed(*starts: int) -> bytes:
        at = np.array(starts, dtype=np.int32)
        return Origins(at, at + 4).packed(np.array([0, len(starts)]))[0]

    path = folder / "live"
    docs = documents(0, 3)
    with create(path) as live:
        live.upsert(docs[:2], [vector(1, 2), vector(3)], origins=[packed(7, 0), b""])
        live.load([Batch(docs[2:], SparseMatrix.from_rows([vector(4)], N_TERMS), [packed(5)])])
        with pytest.raises(DataError, match="Packed origins of 1 terms"):
            live.upsert(docs[:1], [vector(1)], origins=[packed(7, 0)])
        with pytest.raises(DataError, match="1 documents but 2 origins"):
            live.upsert(docs[:1], [vector(1)], origins=[b"", b""])
    snapshot(path, folder / "copy")
    with restore(folder / "copy", folder / "again") as live:
        first, second, third, none = live.documents_with_origins(["d-0", "d-1", "d-2", "d-9"])
        assert none is None
        assert first is not None and first[1] is not None and first[0] == docs[0]
        assert first[1][0].tolist() == [1, 2]
        assert first[1][1].starts.tolist() == [7, 0]
        assert first[1][1].ends.tolist() == [11, 4]
        assert second == (docs[1], None)
        assert third is not None and third[1] is not None
        assert third[1][1].starts.tolist() == [5]
        live.upsert(docs[:1], [vector(2)])
        assert live.documents_with_origins(["d-0"]) == [(docs[0], None)]
    assert verify(folder / "again") == []


def test_folders_of_replaced_segments_stay_while_somebody_reads_them(folder: Path) -> None:
    path = folder / "live"
    with create(path) as live, Collection.open(path) as reader:
        live.upsert([Document("a", "")], [vector(1)])
        live.seal()
        before = live.view()
        of_reader = reader.view()
        live.upsert([Document("b", "")], [vector(1)])
        live.merge()
        assert len(list((path / "segments").iterdir())) == 2
        assert before.search(vector(1)).doc_ids == ["a"]
        del before
        live.sweep()
        assert len(list((path / "segments").iterdir())) == 2
        assert of_reader.search(vector(1)).doc_ids == ["a"]
        del of_reader
        assert reader.search(vector(1)).doc_ids == ["a", "b"]
        live.sweep()
        assert len(list((path / "segments").iterdir())) == 1


def test_threads_read_and_write_while_it_is_kept_in_shape(folder: Path) -> None:
    """Every answer is that of some generation: each write replaces all documents of a group."""
    path = folder / "live"
    stop = threading.Event()
    errors: list[Exception] = []

    def read(collection: Collection) -> None:
        try:
            while not stop.is_set():
                for group in range(3):
                    found = collection.search(vector(group), 50, with_documents=True)
                    assert found.documents is not None
                    revisions = {document.text for document in found.documents}
                    assert len(found) == 8, found
                    assert len(revisions) == 1, revisions
        except (AssertionError, LsrError) as error:
            errors.append(error)

    def write(collection: Collection, group: int) -> None:
        try:
            for revision in range(25):
                docs = [Document(f"{group}-{n}", f"{revision}") for n in range(8)]
                collection.upsert(docs, [vector(group)] * 8)
        except (AssertionError, LsrError) as error:
            errors.append(error)

    with create(path, background=True, seal_at=20, merge_factor=2) as live:
        for group in range(3):
            live.upsert([Document(f"{group}-{n}", "-1") for n in range(8)], [vector(group)] * 8)
        with Collection.open(path) as reader:
            readers = [threading.Thread(target=read, args=(c,)) for c in (live, reader, live)]
            writers = [threading.Thread(target=write, args=(live, g)) for g in range(3)]
            for thread in readers + writers:
                thread.start()
            for thread in writers:
                thread.join()
            stop.set()
            for thread in readers:
                thread.join()
        live.wait()
        assert errors == []
        stats = live.stats()
        assert stats["n_documents"] == 24
        assert stats["trouble"] is None
        assert len(stats["segments"]) <= 2
        live.merge()
        assert live.stats()["segments"][0]["n_rows"] == 24


def test_writers_wait_for_a_head_that_cannot_be_sealed_and_then_hear_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise StorageError("No space.", hint="Free some.")

    monkeypatch.setattr("indexing.collection_keeper.build_range", refuse)
    monkeypatch.setattr("indexing.collection_keeper.logger.exception", lambda *args: None)
    with create(folder / "live", background=True, seal_at=2) as live:
        with pytest.raises(StorageError, match="cannot be sealed: No space"):
            for number in range(40):
                live.upsert([Document(f"d-{number}", "")], [vector(1)])
        assert 8 <= len(live) < 40
        assert len(live.search(vector(1), 100)) == len(live)
        with pytest.raises(StorageError):
            live.wait()
        monkeypatch.undo()
        live.maintain()
        assert live.stats()["head_documents"] == 0


def test_opening_reads_the_head_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "live"
    with create(path) as live:
        live.load([(documents(0, 500), SparseMatrix.from_rows([vector(1)] * 500, N_TERMS))])
        live.upsert(documents(500, 503), [vector(1)] * 3)
    read: list[int] = []
    rows = __import__("indexing.live_transactions", fromlist=["x"]).ReadTransaction.rows

    def counted(self: object, first: int, last: int) -> Iterator[object]:
        for row in rows(self, first, last):
            read.append(row.number)
            yield row

    monkeypatch.setattr("indexing.live_transactions.ReadTransaction.rows", counted)
    monkeypatch.setattr("indexing.collection.require_store", _stamp_only)
    with Collection.open(path) as reader:
        assert len(reader) == 503
    assert len(read) == 3


def _stamp_only(path: Path, vocabulary_size: int) -> None:
    """A clean close leaves a stamp that fits: nothing else may be needed."""
    from indexing.live_checks import STAMP_NAME

    status = path.stat()
    noted = json.loads(path.with_name(STAMP_NAME).read_text())
    assert noted == [status.st_size, status.st_mtime_ns]


def test_paths_and_modes(folder: Path, live: Collection) -> None:
    with pytest.raises(ArtifactExistsError):
        create(folder / "live")
    with pytest.raises(ArtifactNotFoundError):
        Collection.open(folder / "nowhere")
    with pytest.raises(CollectionLockedError, match="Another process writes"):
        Collection.open(folder / "live", mode="w")
    with Collection.open(folder / "live") as reader:
        assert not reader.writable
        with pytest.raises(ArgumentError, match="not open for writing"):
            reader.upsert([Document("a", "")], [vector(1)])
        with pytest.raises(ArgumentError, match="not open for writing"):
            reader.delete(["a"])
        with pytest.raises(ArgumentError, match="not open for writing"):
            reader.seal()
    live.close()
    with pytest.raises(ArgumentError, match="not open for writing"):
        live.upsert([Document("a", "")], [vector(1)])


def test_the_query_side_travels_with_it(folder: Path) -> None:
    side = folder / "side"
    side.mkdir()
    (side / "lsr_encoder.json").write_text("{}")
    with Collection.create(
        folder / "live", VOCABULARY, encoder="test", idf="query", query_encoder=side
    ) as live:
        assert live.query_encoder_path is not None
        assert (live.query_encoder_path / "lsr_encoder.json").read_text() == "{}"
        assert live.manifest.details["idf"] == "query"
        assert live.fields == {}


@pytest.mark.parametrize("kind", ["seismic", "clustered"])
def test_approximate_segments_serve_filters_and_deletions(
    folder: Path, rng: np.random.Generator, kind: str
) -> None:
    matrix = random_matrix(rng, 900, N_TERMS, 9)
    docs = [Document(f"d-{n}", "", "", {"year": n % 40, "day": "2026-01-01"}) for n in range(900)]
    index = {"layout": {"kind": kind}}
    with create(folder / "live", index=index, exact_below=200) as live:
        live.load([(docs[:500], matrix.rows(0, 500)), (docs[500:800], matrix.rows(500, 800))])
        live.upsert(docs[800:], matrix.rows(800, 900))
        live.delete([f"d-{n}" for n in range(0, 900, 3)])
        kept = [n for n in range(900) if n % 3]
        for query in random_matrix(rng, 10, N_TERMS, 6):
            scores = [query.dot(matrix.row(n)) for n in kept]
            for raw, passing in (
                (None, kept),
                ({"range": {"year": {"lt": 20}}}, [n for n in kept if n % 40 < 20]),
                ({"equals": {"year": 7}}, [n for n in kept if n % 40 == 7]),
            ):
                found = live.search(query, 10, filter=raw)
                positive = {f"d-{n}": scores[kept.index(n)] for n in passing}
                positive = {doc_id: score for doc_id, score in positive.items() if score > 0}
                assert len(found) == min(10, len(positive))
                assert set(found.doc_ids) <= set(positive)
                expected = [positive[doc_id] for doc_id in found.doc_ids]
                np.testing.assert_allclose(found.scores, expected, rtol=2e-3)
                if raw == {"equals": {"year": 7}}:
                    best = sorted(positive.values(), reverse=True)[:10]
                    np.testing.assert_allclose(found.scores, best, rtol=2e-3)
        live.seal()
        assert [s["layout"] for s in live.stats()["segments"]] == [kind, kind, "exact"]
        assert len(live.search(query, 10)) == 10
        live.merge()
        assert [s["layout"] for s in live.stats()["segments"]] == [kind]
        assert len(live.search(query, 1000)) == sum(score > 0 for score in scores)
        with pytest.raises(ArgumentError, match=f"takes {kind.title()}Params, got dict"):
            live.search(query, params={})


def test_a_dense_half_is_all_or_nothing(folder: Path, live: Collection) -> None:
    pytest.importorskip("faiss")
    one, rows = [Document("a", "x")], np.array([[1, 2, 3]], dtype=np.float32)
    with pytest.raises(DataError, match="no dense half"):
        live.upsert(one, [vector(1)], dense=rows)
    with pytest.raises(ArgumentError, match="no dense half") as caught:
        live.search_both(vector(1), rows[0])
    assert "--dense" in caught.value.hint
    with pytest.raises(ArgumentError, match="no dense half"):
        live.dense_vector("a")
    how = {"encoder": "test", "idf": "none"}
    for width in (0, 65_537):
        with pytest.raises(ArgumentError, match="1 to 65536 numbers"):
            Collection.create(folder / "x", VOCABULARY, dense=width, **how)
    with Collection.create(folder / "both", VOCABULARY, dense=3, **how) as both:
        sparse, near = both.search_both(vector(1), rows[0])
        assert len(sparse) == len(near) == 0
        good = Batch(one, [vector(1)], dense=rows)
        bad = [
            Batch(one, [vector(1)]),
            Batch(one, [vector(1)], dense=rows[:, :2]),
            Batch(one, [vector(1)], dense=rows * np.nan),
            Batch(one, [vector(1)], dense=np.vstack([rows, rows])),
        ]
        done = both.upsert_groups([bad[0], good, *bad[1:]])
        assert done[1] == UpsertResult(1, 0)
        assert all(isinstance(result, DataError) for at, result in enumerate(done) if at != 1)
        for batch in bad:
            with pytest.raises(DataError):
                both.load([batch])
        with pytest.raises(DataError, match="takes 3"):
            both.search_both(vector(1), rows[0, :2])
        assert both.dense_vector("a").tolist() == [1, 2, 3]
        with pytest.raises(DocumentNotFoundError):
            both.dense_vector("b")
        assert both.search_both(vector(2), -rows[0])[1].scores.tolist() == [-14.0]
        assert both.stats()["segments"] == []
        both.seal()
        assert both.stats()["segments"][0]["bytes"] > 12
    assert verify(folder / "both") == []
