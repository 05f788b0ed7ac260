"""Flipped bits, a full disk, a failing sync: a clear error or a mended index, no wrong answer."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from indexing.collection import Batch, Collection, UpsertResult
from indexing.collection_config import CollectionConfig
from indexing.collection_copies import repair, restore, snapshot, verify
from indexing.live_checks import STAMP_NAME
from indexing.live_store import STORE_NAME
from lsr.core.errors import ArtifactCorruptedError, ArtifactError, LsrError, StorageError
from lsr.core.records import Document
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary
from tests.helpers.live_model import FIELDS, LiveModel, memory_folder, require_same
from tests.helpers.strategies import random_matrix

N_TERMS = 30
VOCABULARY = Vocabulary(f"t{n}" for n in range(N_TERMS))
CONFIG = CollectionConfig(seal_at=1000, fields=FIELDS)
WIDTH = 5
HOW: dict[str, Any] = {
    "filters": [{"equals": {"lang": "en"}}, {"range": {"year": {"lt": 1994}}}],
    "dense_queries": list(np.array([[1, -2, 3, 0, 1], [0, 0, 1, 0, 0], [-3, 1, 1, 2, 2]], "f4")),
}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory: nothing here outlives the process, and syncs are slow."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        yield Path(folder)


def documents(start: int, stop: int, text: str = "text") -> list[Document]:
    return [
        Document(
            f"d-{n}",
            f"{text} of {n} " * 20,
            "",
            {"lang": "en" if n % 2 else "de", "year": 1990 + n % 7},
        )
        for n in range(start, stop)
    ]


def batch_of(docs: list[Document], rng: np.random.Generator) -> Batch:
    dense = rng.integers(-9, 10, (len(docs), WIDTH)).astype(np.float32)
    return Batch(docs, random_matrix(rng, len(docs), N_TERMS, 6), dense=dense)


def note(model: LiveModel, batch: Batch) -> None:
    assert batch.dense is not None
    for row in zip(batch.documents, batch.vectors, batch.dense, strict=True):
        model.upsert(*row)


def fill(collection: Collection, rng: np.random.Generator) -> tuple[LiveModel, list[SparseVector]]:
    """Write two segments, tombstones in both and a head; return the model and some queries."""
    model = LiveModel()

    def write(docs: list[Document]) -> None:
        batch = batch_of(docs, rng)
        collection.upsert(batch.documents, batch.vectors, dense=batch.dense)
        note(model, batch)

    write(documents(0, 40))
    collection.seal()
    write(documents(30, 60, "new text"))
    collection.seal()
    write(documents(55, 70, "newest text"))
    for doc_id in ("d-1", "d-50", "d-69"):
        collection.delete([doc_id])
        model.delete(doc_id)
    return model, list(random_matrix(rng, 3, N_TERMS, 8))


@pytest.fixture
def live(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, LiveModel, list[SparseVector]]:
    """A closed collection with two segments, tombstones and a head."""
    path = tmp_path / "live"
    with Collection.create(
        path, VOCABULARY, config=CONFIG, encoder="test", idf="none", dense=WIDTH, background=False
    ) as collection:
        model, queries = fill(collection, rng)
    return path, model, queries


@pytest.fixture
def logged(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, LiveModel, list[SparseVector]]:
    """The same as a crash leaves it: all writes are in the log."""
    path = tmp_path / "live"
    collection = Collection.create(
        path, VOCABULARY, config=CONFIG, encoder="test", idf="none", dense=WIDTH, background=False
    )
    model, queries = fill(collection, rng)
    crashed = tmp_path / "crashed"
    shutil.copytree(path, crashed, copy_function=shutil.copy2)
    collection.close()
    return crashed, model, queries


def flip(file: Path, at: int, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1 << bit
    file.write_bytes(data)


def answers_or_errs(path: Path, model: LiveModel, queries: list[SparseVector]) -> str:
    """Return how a damaged collection shows: an error's code, or "same"; fail on a wrong answer."""
    try:
        with Collection.open(path) as collection:
            require_same(collection, model, queries, **HOW)
    except LsrError as error:
        assert isinstance(error, ArtifactError), error
        assert error.hint
        return error.code
    return "same"


def test_a_flipped_bit_in_any_file_is_an_error_or_harmless(
    live: tuple[Path, LiveModel, list[SparseVector]], rng: np.random.Generator, tmp_path: Path
) -> None:
    path, model, queries = live
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size)
    assert {"store.sqlite", "manifest.json", "rows.npy", "fields.keys.npy", "dense.npy"} <= {
        f.name for f in files
    }
    seen: dict[str, set[str]] = {}
    for file in files:
        for at in rng.integers(0, file.stat().st_size, 2).tolist():
            damaged = tmp_path / "damaged"
            shutil.copytree(path, damaged, copy_function=shutil.copy2)
            flip(damaged / file.relative_to(path), at, int(rng.integers(8)))
            outcome = answers_or_errs(damaged, model, queries)
            seen.setdefault(file.name, set()).add(outcome)
            shutil.rmtree(damaged)
    # Only the note of the stamp may be lost without a word: everything is read instead.
    for name, outcomes in seen.items():
        if name not in (STAMP_NAME, STORE_NAME):
            assert outcomes == {"artifact_corrupted"}, (name, outcomes)


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_the_database(
    live: tuple[Path, LiveModel, list[SparseVector]], rng: np.random.Generator, tmp_path: Path
) -> None:
    path, model, queries = live
    size = (path / STORE_NAME).stat().st_size
    outcomes = []
    for at in rng.integers(0, size, 300).tolist():
        damaged = tmp_path / "damaged"
        shutil.copytree(path, damaged, copy_function=shutil.copy2)
        flip(damaged / STORE_NAME, at, int(rng.integers(8)))
        outcomes.append(answers_or_errs(damaged, model, queries))
        shutil.rmtree(damaged)
    assert set(outcomes) <= {"same", "artifact_corrupted"}
    assert outcomes.count("artifact_corrupted") > 30


@pytest.mark.parametrize("place", ["header", "middle", "last", "sum", "salt"])
def test_a_flipped_bit_in_the_log_is_an_error(
    logged: tuple[Path, LiveModel, list[SparseVector]], place: str
) -> None:
    path, model, queries = logged
    assert answers_or_errs(path, model, queries) == "same"
    log = path / f"{STORE_NAME}-wal"
    size = log.stat().st_size
    frame = 24 + 4096
    assert (size - 32) % frame == 0
    at = {
        "header": 17,
        "middle": 32 + frame * 3 + 1000,
        "last": size - 7,
        "sum": size - frame + 18,
        "salt": size - frame + 9,
    }[place]
    for name in (f"{STORE_NAME}-shm",):
        (path / name).unlink(missing_ok=True)
    flip(log, at, 3)
    with pytest.raises(ArtifactCorruptedError, match="-wal is damaged"):
        Collection.open(path, mode="w")
    assert "-wal is damaged" in verify(path)[0]


def test_a_write_that_was_cut_off_in_the_log_is_dropped(
    logged: tuple[Path, LiveModel, list[SparseVector]],
) -> None:
    path, model, queries = logged
    log = path / f"{STORE_NAME}-wal"
    with log.open("ab") as stream:
        stream.write(os.urandom(24) + bytes(1000))
    (path / f"{STORE_NAME}-shm").unlink(missing_ok=True)
    assert answers_or_errs(path, model, queries) == "same"


def test_repair_builds_damaged_segments_again(
    live: tuple[Path, LiveModel, list[SparseVector]],
) -> None:
    path, model, queries = live
    first, second = sorted((path / "segments").iterdir())
    flip(first / "weights.npy", 200, 1)
    flip(first / "dense.npy", 200, 1)
    shutil.rmtree(second)
    modes: tuple[Literal["r", "w"], ...] = ("r", "w")
    for mode in modes:
        with pytest.raises(ArtifactError, match="repair") as caught:
            Collection.open(path, mode=mode)
    assert caught.value.hint
    problems = verify(path)
    assert any("weights.npy: checksum differs" in line for line in problems)
    assert any("dense.npy: checksum differs" in line for line in problems)
    assert any("No segment" in line for line in problems)
    repairs = repair(path)
    assert set(repairs.rebuilt) == {first.name, second.name}
    assert verify(path) == []
    assert answers_or_errs(path, model, queries) == "same"
    assert not first.exists()


@pytest.mark.parametrize("name", ["weights.npy", "dense.npy"])
def test_decay_that_no_stamp_shows_is_found_by_verify(
    live: tuple[Path, LiveModel, list[SparseVector]], name: str
) -> None:
    path, model, queries = live
    file = next((path / "segments").glob(f"*/{name}"))
    before = file.stat()
    flip(file, 200, 1)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert any(f"{name}: checksum differs" in line for line in verify(path))
    assert len(repair(path).rebuilt) == 1
    assert answers_or_errs(path, model, queries) == "same"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE documents SET text = 'other' WHERE doc_id = 'd-2'",
        "UPDATE vectors SET vector = vector || x'00' WHERE number = 3",
        "UPDATE dense SET vector = zeroblob(20) WHERE number = 3",
        "DELETE FROM dense WHERE number = 3",
    ],
)
def test_a_damaged_document_is_an_error_wherever_it_is_read(
    live: tuple[Path, LiveModel, list[SparseVector]], damage: str
) -> None:
    path, _, _ = live
    connection = sqlite3.connect(path / STORE_NAME)
    assert connection.execute(damage).rowcount == 1
    connection.commit()
    connection.close()
    with pytest.raises(ArtifactCorruptedError, match="snapshot"):
        Collection.open(path)
    with pytest.raises(ArtifactCorruptedError, match="snapshot"):
        repair(path)
    assert verify(path)


def test_a_damaged_index_of_the_database_is_made_again(
    live: tuple[Path, LiveModel, list[SparseVector]],
) -> None:
    path, model, queries = live
    data = (path / STORE_NAME).read_bytes()
    # The ids stand in the table and in its index; the index is spoilt.
    places = [at for at in range(len(data)) if data.startswith(b"d-23", at)]
    assert len(places) >= 2
    for at in places:
        shutil.copy2(path / STORE_NAME, path.parent / "good.sqlite")
        flip(path / STORE_NAME, at + 3, 0)
        try:
            repairs = repair(path)
        except ArtifactCorruptedError:
            shutil.copy2(path.parent / "good.sqlite", path / STORE_NAME)
            continue
        assert repairs.problems
        assert answers_or_errs(path, model, queries) == "same"
        return
    pytest.fail("no place of the id was in the index")


def test_a_damaged_snapshot_restores_nothing(
    live: tuple[Path, LiveModel, list[SparseVector]], tmp_path: Path, rng: np.random.Generator
) -> None:
    path, model, queries = live
    copy = tmp_path / "copy"
    snapshot(path, copy)
    for file in sorted(p for p in copy.rglob("*") if p.is_file() and p.stat().st_size):
        content = file.read_bytes()
        flip(file, int(rng.integers(len(content))), int(rng.integers(8)))
        out = tmp_path / "out"
        try:
            with restore(copy, out) as restored:
                # The manifest's dates and versions carry no checksum, and no answer.
                assert file == copy / "manifest.json"
                require_same(restored, model, queries)
            shutil.rmtree(out)
        except ArtifactError:
            assert not out.exists()
        file.write_bytes(content)
    with restore(copy, tmp_path / "out") as restored:
        require_same(restored, model, queries, **HOW)


# --- the disk refuses ------------------------------------------------------------------------


@pytest.fixture
def writer(
    live: tuple[Path, LiveModel, list[SparseVector]],
) -> Iterator[tuple[Collection, LiveModel, list[SparseVector]]]:
    path, model, queries = live
    with Collection.open(path, mode="w", background=False) as collection:
        yield collection, model, queries


def test_a_failing_sync_of_a_segment_changes_nothing(
    writer: tuple[Collection, LiveModel, list[SparseVector]], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection, model, queries = writer
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _refuse)
        with pytest.raises(StorageError):
            collection.seal()
        with pytest.raises(StorageError):
            collection.merge()
    require_same(collection, model, queries, **HOW)
    assert len(list((collection.path / "segments").iterdir())) == 2
    collection.merge()
    require_same(collection, model, queries, **HOW)


def _refuse(handle: int) -> None:
    raise OSError(5, "Input/output error")


def test_a_full_database_takes_nothing_and_goes_on_later(
    writer: tuple[Collection, LiveModel, list[SparseVector]], rng: np.random.Generator
) -> None:
    collection, model, queries = writer
    store = collection._store._writer
    assert store is not None
    (pages,) = store.execute("PRAGMA page_count").fetchone()
    store.execute(f"PRAGMA max_page_count={pages + 1}")
    big = batch_of(documents(100, 140, "long " * 500), rng)
    with pytest.raises(StorageError, match="Nothing of this write was kept") as caught:
        collection.upsert_groups([big])
    assert "free some space" in caught.value.hint
    require_same(collection, model, queries, **HOW)
    store.execute("PRAGMA max_page_count=1000000")
    assert collection.upsert_groups([big]) == [UpsertResult(40, 0)]
    note(model, big)
    require_same(collection, model, queries, **HOW)


def test_a_failed_load_leaves_neither_documents_nor_a_segment(
    writer: tuple[Collection, LiveModel, list[SparseVector]],
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collection, model, queries = writer
    collection.seal()
    batch = batch_of(documents(60, 80, "loaded"), rng)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _refuse)
        with pytest.raises(StorageError):
            collection.load([batch])
    require_same(collection, model, queries, **HOW)
    collection.load([batch])
    note(model, batch)
    require_same(collection, model, queries, **HOW)
