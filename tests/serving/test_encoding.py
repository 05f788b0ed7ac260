"""The encoders of documents: which are allowed, where they run, what happens when they fall."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from indexing.dense_encoder import DenseEncoder
from lsr.core.errors import ArgumentError, EncoderError
from lsr.encoders.lexical import LexicalEncoder
from lsr.encoders.loading import load_encoder
from serving import encoding
from serving.encoding import DocumentEncoders, named_encoders, named_paths
from tests.helpers.tiny_model import tiny_bi_encoder


def test_names_of_encoders() -> None:
    shipped = set(named_encoders(()))
    assert "lexical" not in shipped
    named = named_encoders(("models/splade", "news=a=b"))
    assert {name: named[name] for name in set(named) - shipped} == {
        "splade": "models/splade",
        "news": "a=b",
    }


@pytest.fixture
def folder(tmp_path: Path, encoder: LexicalEncoder) -> Path:
    encoder.save(tmp_path / "words")
    return tmp_path / "words"


@pytest.fixture(params=["thread", "process"])
def encoders(
    folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DocumentEncoders]:
    if request.param == "process":
        monkeypatch.setattr(encoding, "_is_light", lambda source: False)
    made = DocumentEncoders({"words": str(folder)})
    yield made
    made.close()


def test_documents_are_encoded_as_by_the_encoder_itself(
    encoders: DocumentEncoders, encoder: LexicalEncoder, tmp_path: Path
) -> None:
    side = encoders.save_query_side("words", tmp_path / "side", positions=False)
    assert side == (encoder.name, encoder.fingerprint, encoder.idf)
    assert load_encoder(tmp_path / "side").vocabulary.fingerprint == encoder.vocabulary.fingerprint
    bound = encoders.bound("words", side.fingerprint)
    assert bound is not None
    texts = ["super bowl network", "", "new york"]
    here, there = encoder.encode_documents(texts), bound.encode_documents(texts)
    assert np.array_equal(here.terms, there.terms)
    assert np.array_equal(here.weights, there.weights)
    other = encoders.bound("words", "another")
    assert other is not None
    with pytest.raises(EncoderError, match="not the one"):
        other.encode_documents(texts)
    # The words of the text are all that a lexical encoder could mark.
    with pytest.raises(ArgumentError, match="positions"):
        encoders.save_query_side("words", tmp_path / "more", positions=True)


def test_only_what_the_settings_name(encoders: DocumentEncoders, tmp_path: Path) -> None:
    for name in ("wrods", str(tmp_path / "words"), "../words"):
        assert encoders.bound(name, "") is None
        with pytest.raises(ArgumentError, match="it has: words"):
            encoders.save_query_side(name, tmp_path / "side", positions=False)


def test_a_process_that_falls_is_started_again(
    folder: Path, encoder: LexicalEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_is_light", lambda source: False)
    encoders = DocumentEncoders({"words": str(folder)})
    bound = encoders.bound("words", encoder.fingerprint)
    assert bound is not None
    bound.encode_documents(["super"])
    (process,) = encoders._executors["words"]._processes  # type: ignore[attr-defined]
    os.kill(process, signal.SIGKILL)
    with pytest.raises(EncoderError, match="ended while it worked"):
        bound.encode_documents(["super"])
    assert bound.encode_documents(["super"]).nnz == 1
    encoders.close()


def test_a_killed_service_leaves_no_process_behind(folder: Path, encoder: LexicalEncoder) -> None:
    code = f"""
import os, signal
from serving import encoding
encoding._is_light = lambda source: False
if __name__ == "__main__":
    encoders = encoding.DocumentEncoders({{"words": {str(folder)!r}}})
    encoders.bound("words", {encoder.fingerprint!r}).encode_documents(["super"])
    print(*encoders._executors["words"]._processes, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    # That `run` returned tells it: the pipe is closed, so its other end is held by nobody.
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0


def test_a_service_whose_queries_are_looked_up_loads_no_model(folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from fastapi.testclient import TestClient
from serving import encoding
from serving.app import create_app
from serving.settings import ServeSettings
encoding._is_light = lambda source: False
if __name__ == "__main__":
    settings = ServeSettings(
        data={str(tmp_path / "data")!r}, encoders=({f"words={folder}"!r},),
        allowed_hosts=("testserver",), access_log=False,
    )
    with TestClient(create_app(settings)) as api:
        api.post("/v1/indexes", json={{"name": "news", "encoder": "words"}}).raise_for_status()
        body = {{"documents": [{{"doc_id": "a", "text": "super bowl"}}]}}
        api.post("/v1/indexes/news/documents", json=body).raise_for_status()
        hits = api.post("/v1/indexes/news/search", json={{"query": "super"}}).json()["hits"]
    heavy = {{"torch", "transformers", "faiss", "onnxruntime"}} & set(sys.modules)
    print([hit["doc_id"] for hit in hits], sorted(heavy))
"""
    # A file, because a process of its own imports what started it.
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "['a'] []"


@pytest.mark.slow
def test_copies_of_one_bi_encoder_share_a_process(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    first = DenseEncoder(tiny_bi_encoder(tmp_path / "first"))
    first.save(tmp_path / "second")
    texts = ["a bad cab", "", "face"]
    made = DocumentEncoders({}, {"tiny": str(first.path)})
    try:
        assert made.require_dense("tiny").fingerprint == first.fingerprint
        for path in (first.path, tmp_path / "second"):
            bound = made.bound_dense(path, "tiny", first.fingerprint)
            assert bound.encode(texts) == pytest.approx(first.encode(texts), abs=1e-6)
        assert len(made._executors) == 1
        with pytest.raises(EncoderError, match="not the one"):
            made.bound_dense(first.path, "tiny", "0" * 64).encode(texts)
    finally:
        made.close()


def test_only_the_bi_encoders_that_the_settings_name(tmp_path: Path) -> None:
    made = DocumentEncoders({}, named_paths((f"tiny={tmp_path}",)))
    assert made.dense_names == ["tiny"]
    with pytest.raises(ArgumentError, match="Did you mean 'tiny'"):
        made.require_dense("tinny")
    with pytest.raises(EncoderError, match=r"config\.json"):
        made.require_dense("tiny")
