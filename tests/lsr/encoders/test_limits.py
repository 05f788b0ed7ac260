from __future__ import annotations

from pathlib import Path

from lsr.core.records import Document
from lsr.encoders import LexicalEncoder, encode_collection, load_encoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.limits import TextLimits, text_limits


class _Reader:
    """A side that reads so many tokens."""

    def __init__(self, query: int, document: int) -> None:
        self.options = TextOptions(query, document)


class TextOptions:
    def __init__(self, query: int, document: int) -> None:
        self.query_max_length, self.document_max_length = query, document


def test_each_side_has_its_own_limit() -> None:
    assert text_limits(_Reader(32, 256)) == (32, 256)
    both = type("Both", (), {"query": _Reader(32, 1), "document": _Reader(1, 256)})()
    assert text_limits(both) == (32, 256)


def test_a_lexical_encoder_reads_all(tmp_path: Path) -> None:
    encoder = LexicalEncoder.fit(["a river of stones"])
    assert text_limits(encoder) == TextLimits(None, None)
    documents = [Document("1", "a river")]
    made = encode_collection(encoder, documents, tmp_path / "v")
    assert made.manifest.details["document_tokens"] is None


def test_the_encoder_that_ships_reads_512() -> None:
    encoder = load_encoder("lsr-mini")
    assert text_limits(encoder).document_tokens == 512
    learned = load_encoder("lsr-mini/learned")
    assert isinstance(learned, ComposedEncoder)
    assert text_limits(learned).document_tokens == 512
    # Its query side alone does not know what the documents were cut at.
    assert text_limits(learned.query).document_tokens is None
