import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lsr.core.artifact import verify_artifact
from lsr.core.errors import (
    ArtifactError,
    ArtifactExistsError,
    DataError,
    DuplicateIdError,
    EncoderError,
)
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix, vstack
from lsr.encoders import (
    EncodeConfig,
    LexicalConfig,
    LexicalEncoder,
    encode_collection,
    load_encoder,
)
from lsr.encoders.pruning import prune

WORDS = ["cat", "dog", "wool", "mat", "mouse", "house", "river", "stone", "cloud", "tree"]
SMALL = EncodeConfig(shard_size=4)


def corpus(n: int = 11) -> list[Document]:
    return [Document(f"d{i}", " ".join(WORDS[: 1 + i % 7]), title=WORDS[i % 10]) for i in range(n)]


@pytest.fixture
def encoder() -> LexicalEncoder:
    return LexicalEncoder.fit(d.content for d in corpus())


class Interrupted(Exception):
    pass


def stops_after(documents: Sequence[Document], n: int) -> Iterator[Document]:
    yield from documents[:n]
    raise Interrupted


def test_the_collection_holds_what_the_encoder_makes(
    encoder: LexicalEncoder, tmp_path: Path
) -> None:
    documents = corpus()
    collection = encode_collection(encoder, iter(documents), tmp_path / "v", config=SMALL)
    assert collection.matrix() == encoder.encode_documents([d.content for d in documents])
    assert list(collection.doc_ids()) == [d.doc_id for d in documents]
    assert collection.n_shards == 3
    assert verify_artifact(collection.path, collection.manifest) == []
    assert os.listdir(tmp_path) == ["v"]
    details = collection.manifest.details
    assert details["encoder"] == "lexical"
    assert details["encoding"]["documents_per_s"] > 0
    assert details["encoding"]["terms_per_document"] == collection.nnz / 11
    assert collection.query_encoder_path is not None
    assert load_encoder(collection.query_encoder_path).fingerprint == encoder.fingerprint


def test_queries_are_encoded_by_the_query_side(encoder: LexicalEncoder, tmp_path: Path) -> None:
    queries = [Document("q1", "cat wool"), Document("q2", "nothing")]
    made = encode_collection(encoder, queries, tmp_path / "q", side="queries")
    assert made.matrix() == encoder.encode_queries(["cat wool", "nothing"])
    assert made.manifest.details["encoding"]["n_empty"] == 1


def test_pruning_while_encoding(encoder: LexicalEncoder, tmp_path: Path) -> None:
    config = EncodeConfig(shard_size=4, max_active_dims=2)
    made = encode_collection(encoder, corpus(), tmp_path / "v", config=config).matrix()
    whole = encoder.encode_documents([d.content for d in corpus()])
    assert made == prune(whole, max_active_dims=2)


def test_an_interrupted_encoding_goes_on(encoder: LexicalEncoder, tmp_path: Path) -> None:
    out, documents = tmp_path / "v", corpus()
    with pytest.raises(Interrupted):
        encode_collection(encoder, stops_after(documents, 9), out, config=SMALL)
    encoded: list[int] = []

    class Counting(LexicalEncoder):
        def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32) -> SparseMatrix:
            encoded.append(len(texts))
            return super().encode_documents(texts, batch_size=batch_size)

    counting = Counting.fit(d.content for d in documents)
    collection = encode_collection(counting, documents, out, config=SMALL)
    assert encoded == [3]
    assert collection.manifest.details["encoding"]["n_resumed_shards"] == 2
    assert collection.matrix() == encoder.encode_documents([d.content for d in documents])


def test_another_config_or_encoder_is_not_mixed_in(encoder: LexicalEncoder, tmp_path: Path) -> None:
    out, documents = tmp_path / "v", corpus()
    with pytest.raises(Interrupted):
        encode_collection(encoder, stops_after(documents, 9), out, config=SMALL)
    pruned = EncodeConfig(shard_size=4, max_active_dims=2)
    with pytest.raises(ArtifactError, match="max_active_dims: was None, now 2"):
        encode_collection(encoder, documents, out, config=pruned)
    other = LexicalEncoder.fit((d.content for d in documents), config=LexicalConfig(k1=2.0))
    with pytest.raises(ArtifactError, match="encoder_fingerprint"):
        encode_collection(other, documents, out, config=SMALL)
    again = encode_collection(other, documents, out, config=SMALL, restart=True)
    assert again.matrix() == other.encode_documents([d.content for d in documents])


def test_another_corpus_is_not_mixed_in(encoder: LexicalEncoder, tmp_path: Path) -> None:
    out, documents = tmp_path / "v", corpus()
    with pytest.raises(Interrupted):
        encode_collection(encoder, stops_after(documents, 9), out, config=SMALL)
    changed = [documents[0]._replace(text="other words"), *documents[1:]]
    with pytest.raises(DataError, match="corpus changed"):
        encode_collection(encoder, changed, out, config=SMALL)
    with pytest.raises(DataError, match="fewer documents"):
        encode_collection(encoder, documents[:4], out, config=SMALL)


def test_duplicate_ids_are_refused_across_shards(encoder: LexicalEncoder, tmp_path: Path) -> None:
    documents = [*corpus(), Document("d0", "again")]
    with pytest.raises(DuplicateIdError, match="'d0'"):
        encode_collection(encoder, documents, tmp_path / "v", config=SMALL)
    with pytest.raises(DuplicateIdError, match="'d0'"):  # and again, past finished shards
        encode_collection(encoder, documents, tmp_path / "v", config=SMALL)


def test_empty_texts_are_kept_as_empty_rows_and_told(
    encoder: LexicalEncoder,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The command line's set-up, run by another test, may have cut the logger off.
    monkeypatch.setattr(logging.getLogger("lsr"), "propagate", True)
    documents = [Document("a", "cat"), Document("b", ""), Document("c", " \n")]
    made = encode_collection(encoder, documents, tmp_path / "v")
    assert [row.nnz for row in made.matrix()] == [1, 0, 0]
    assert "2 of 3 texts have no terms" in caplog.text


def test_no_documents_is_an_error(encoder: LexicalEncoder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no documents"):
        encode_collection(encoder, [], tmp_path / "v")
    assert os.listdir(tmp_path) == []


def test_an_existing_target_is_kept_unless_told(encoder: LexicalEncoder, tmp_path: Path) -> None:
    encode_collection(encoder, corpus(), tmp_path / "v")
    with pytest.raises(ArtifactExistsError, match="--overwrite"):
        encode_collection(encoder, corpus(3), tmp_path / "v")
    assert encode_collection(encoder, corpus(3), tmp_path / "v", overwrite=True).n_documents == 3


def test_a_query_side_alone_cannot_encode_documents(
    encoder: LexicalEncoder, tmp_path: Path
) -> None:
    class QueriesOnly:
        name, fingerprint, vocabulary, idf = "q", "f", encoder.vocabulary, encoder.idf
        encode_queries, spans = encoder.encode_queries, encoder.spans
        save_query_side = encoder.save_query_side

    with pytest.raises(EncoderError, match="query side only"):
        encode_collection(QueriesOnly(), corpus(), tmp_path / "v")


def test_two_processes_cannot_work_on_one_target(encoder: LexicalEncoder, tmp_path: Path) -> None:
    out = tmp_path / "v"

    def second() -> Iterator[Document]:
        yield from corpus(2)
        with pytest.raises(ArtifactError, match="Another process"):
            encode_collection(encoder, corpus(), out)

    encode_collection(encoder, second(), out)


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.lsr.encoders.test_encode import SMALL, corpus
from lsr.encoders import LexicalEncoder, encode_collection
documents = corpus(160)
def slowly():
    for document in documents:
        time.sleep(0.004)
        yield document
encoder = LexicalEncoder.fit(d.content for d in documents)
encode_collection(encoder, slowly(), Path(sys.argv[1]), config=SMALL)
"""


def test_killed_at_any_time_it_goes_on_to_the_same_collection(tmp_path: Path) -> None:
    out, partial = tmp_path / "v", tmp_path / "v.partial"
    root = str(Path(__file__).parents[3])
    finished = 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out), root])
        deadline = time.monotonic() + 60
        while len(list(partial.glob("shard-*"))) < finished + 4 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not out.exists()
        assert len(list(partial.glob("shard-*"))) > finished
        finished = len(list(partial.glob("shard-*")))
    documents = corpus(160)
    encoder = LexicalEncoder.fit(d.content for d in documents)
    collection = encode_collection(encoder, documents, out, config=SMALL)
    assert collection.manifest.details["encoding"]["n_resumed_shards"] >= finished
    assert collection.matrix() == encoder.encode_documents([d.content for d in documents])
    assert vstack(collection.shards(), collection.vocabulary_size) == collection.matrix()
