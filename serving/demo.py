"""The demo: the shipped corpus, encoded by the shipped encoder, indexed and searched, offline.

What it builds stands in ``LSR_HOME/demo`` and is used again as long as corpus, encoder and
release stay the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from indexing.build import build_index
from indexing.storage import IndexFolder
from lsr.core import console
from lsr.core.artifact import write_text_atomic
from lsr.core.errors import ArtifactError, EncoderError
from lsr.core.manifest import lsr_version
from lsr.data.toy import load_toy
from lsr.encoders.encode import EncodeConfig, encode_collection
from lsr.encoders.loading import prepare_encoder
from lsr.encoders.tracing import tracing

__all__ = ["DEMO_QUERIES", "Demo", "default_encoder_name", "prepare_demo"]

logger = logging.getLogger(__name__)

DEMO_QUERIES = (
    "Which network broadcast Super Bowl 50?",
    "How do chloroplasts turn sunlight into energy?",
    "Why did the price of oil rise in 1973?",
)


class Demo(NamedTuple):
    """Where the demo's index stands, and whether it was there already."""

    path: Path
    reused: bool


def default_encoder_name() -> str:
    """Return the encoder that serves where none is named: the trained one that ships."""
    return "lsr-mini"


def prepare_demo(home: Path, *, encoder: str | None = None) -> Demo:
    """Return the demo's index, built if it does not stand there as this release makes it.

    Parameters
    ----------
    home : Path
        ``LSR_HOME``.
    encoder : str, optional
        What `lsr.encoders.load_encoder` takes; the default encoder otherwise.
    """
    folder = home / "demo"
    name = encoder or default_encoder_name()
    key = _key(name)
    if _is_current(folder, key):
        logger.info("Using the demo index at %s", folder / "index")
        return Demo(folder / "index", True)
    # Only what the demo itself writes.
    (folder / "key.json").unlink(missing_ok=True)
    corpus = load_toy()
    n_documents = corpus.n_documents()

    def texts() -> Iterator[str]:
        stream = console.track(corpus.documents(), "Fitting", n_documents, unit="documents")
        return (document.content for document in stream)

    model = prepare_encoder(name, texts)
    with console.progress_bar("Encoding", n_documents, unit="documents") as advance:
        encode_collection(
            model,
            corpus.documents(),
            folder / "vectors",
            config=EncodeConfig(positions=_keeps_positions(model)),
            source=corpus.name,
            advance=advance,
            overwrite=True,
            restart=True,
        )
    build_index(
        folder / "vectors", folder / "index", corpus=corpus.documents(), overwrite=True
    ).close()
    shutil.rmtree(folder / "vectors")
    # Written last: an interrupted demo starts anew.
    write_text_atomic(folder / "key.json", json.dumps(key, indent=1) + "\n")
    return Demo(folder / "index", False)


def _keeps_positions(encoder: object) -> bool:
    """Return whether the encoder can tell where each weight comes from; the lexical one cannot."""
    try:
        tracing(encoder)
    except EncoderError:
        return False
    return True


def _key(encoder: str) -> dict[str, Any]:
    """Return everything that decides the demo's index."""
    corpus = hashlib.sha256(load_toy().corpus_path.read_bytes()).hexdigest()
    return {"corpus_sha256": corpus, "encoder": encoder, "lsr_version": lsr_version()}


def _is_current(folder: Path, key: dict[str, Any]) -> bool:
    try:
        if json.loads((folder / "key.json").read_text(encoding="utf-8")) != key:
            return False
        IndexFolder.open(folder / "index").close()
    except (FileNotFoundError, ValueError):
        return False
    except ArtifactError as error:
        logger.warning("Building the demo index again: %s", error)
        return False
    return True
