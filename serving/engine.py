"""Search as a library: encode, search, fetch, explain. Knows nothing of HTTP.

An engine holds one source (an index folder, a collection) and the query side of its encoder.
Every method is safe to call from many threads at once: a call takes the source once and works on
that, so `replace` may swap in a newer one while searches run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from indexing.base import check_k
from indexing.explain import Explanation
from indexing.storage import IndexFolder
from lsr.core.config import Config
from lsr.core.errors import (
    ArgumentError,
    MissingDependencyError,
)
from lsr.core.records import Document
from lsr.core.sparse import SparseVector
from lsr.encoders.base import Encoder, QueryEncoder
from lsr.encoders.loading import load_encoder
from serving.encoding import DenseDocumentEncoder, DocumentEncoder
from serving.highlight import places_by_term
from serving.hybrid import DenseQuery, Hybrid, fused
from serving.queries import QueryEdits, QueryInput, QueryReader
from serving.results import (
    Detail,
    EncodedText,
    HitParts,
    HybridPlace,
    Part,
)
from serving.searcher import Searcher, dense_query_of
from serving.sources import FolderSource, Source, open_source

__all__ = ["Engine"]

logger = logging.getLogger(__name__)


class Engine(Searcher):
    """Searches one index or collection.

    Parameters
    ----------
    source : Source or IndexFolder
        What is searched.
    encoder : QueryEncoder, optional
        Encodes text; without one only queries of terms and weights can be answered.
    name : str, optional
        How messages call the index; default its folder's name.
    examples : sequence of str
        Queries to try.

    Attributes
    ----------
    queries : QueryReader
        Makes the vectors that are searched for.
    document_encoder : DocumentEncoder or None
        Encodes documents; the query's own encoder where that has both sides.
    dense_encoder : DenseDocumentEncoder or None
        Encodes documents for the dense half of a collection that has a bi-encoder.
    probe : RecallProbe or None
        Measures the recall of some of the searches.
    query_ms : float
        What encoding one query takes, measured by `warm_up`; 0 before.

    Raises
    ------
    VocabularyMismatchError
        If the encoder's vocabulary is not the index's.
    """

    def __init__(
        self,
        source: Source | IndexFolder,
        encoder: QueryEncoder | None,
        *,
        name: str = "",
        examples: Sequence[str] = (),
    ) -> None:
        opened: Source = FolderSource(source) if isinstance(source, IndexFolder) else source
        name = name or opened.path.name
        if encoder is not None:
            encoder.vocabulary.require_same(
                opened.vocabulary.fingerprint,
                mine=f"The query encoder {encoder.name!r}",
                theirs=f"the index {name!r}",
            )
        self.examples = tuple(examples)
        super().__init__(opened, QueryReader(encoder, opened.vocabulary, index=name), name=name)
        self.document_encoder: DocumentEncoder | None = (
            encoder if isinstance(encoder, Encoder) else None
        )
        self.dense_encoder: DenseDocumentEncoder | None = None
        self.query_ms = 0.0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        name: str = "",
        examples: Sequence[str] = (),
        writable: bool = False,
    ) -> Engine:
        """Return an engine over the index folder or collection at `path`, with its query side.

        Parameters
        ----------
        path : Path
            What ``lsr index build`` or ``lsr index create`` made.
        name, examples
            As for the class.
        writable : bool
            Open a collection for writing; one process may.

        Raises
        ------
        ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
            If it is not there, not readable by this release, or damaged.
        CollectionLockedError
            If another process writes to the collection.
        VocabularyMismatchError
            If the query side was exchanged for another one.
        """
        source = open_source(path, writable=writable)
        try:
            side = source.query_encoder_path
            encoder = load_encoder(side) if side is not None else None
            return cls(source, encoder, name=name, examples=examples)
        except BaseException:
            source.close()
            raise

    def replace(self, source: Source | IndexFolder) -> Source:
        """Let the searches that start from now on use `source`; return the one before.

        Raises
        ------
        VocabularyMismatchError
            If it has another vocabulary.
        """
        opened: Source = FolderSource(source) if isinstance(source, IndexFolder) else source
        self.vocabulary.require_same(
            opened.vocabulary.fingerprint,
            mine=f"The index {self.name!r}",
            theirs=f"the new index {opened.path.name!r}",
        )
        before, self._source = self._source, opened
        return before

    def warm_up(self, *, dense: bool = True) -> None:
        """Run every stage, so that no request pays for compiling or first page faults.

        Parameters
        ----------
        dense : bool
            The dense half too, where there is one. Without the packages that it needs searches of
            the sparse half go on, and a hybrid search says what is missing.
        """
        if self.encoder is not None:
            times = []
            for _ in range(4):  # the first one pays for loading
                started = time.perf_counter()
                self.queries.encode(["how long does the encoding of a question take here"])
                times.append(time.perf_counter() - started)
            self.query_ms = min(times) * 1000
        self._source.warm_up()
        everything = Detail(highlights=True, explanation=True, comparison=True)
        # The first terms of the vocabulary; whether they find anything does not matter.
        some = dict.fromkeys(range(min(8, len(self.vocabulary))), 1.0)
        vector = SparseVector.from_mapping(some, len(self.vocabulary))
        self.search_vector(vector, 1, detail=everything)
        if dense and self._source.dense is not None:
            try:
                self._source.search_both(vector, self._source.dense.warm_up(), 1)
            except MissingDependencyError as error:
                logger.warning("No hybrid search of %s: %s", self.name, error)

    def close(self) -> None:
        """Close the index's files; the engine cannot be used afterwards."""
        self._source.close()

    # --- looking closer ------------------------------------------------------------------

    def document(self, doc_id: str) -> Document:
        """Return a stored document.

        Raises
        ------
        DocumentNotFoundError
            If there is none of this id, or the index stores no documents.
        """
        return self._source.document(doc_id)

    def explain(
        self,
        query: QueryInput,
        doc_id: str,
        *,
        k: int = 10,
        params: Config | None = None,
        filter: Any | None = None,
        edits: QueryEdits | None = None,
    ) -> tuple[Explanation, str, str]:
        """Return why a document has its score for a query, and why it is, or is not, found.

        Returns
        -------
        explanation : Explanation
        reason, message : str
            Of its place in, or absence from, the best `k`: a code and a sentence.

        Raises
        ------
        DocumentNotFoundError
            If there is none of this id.
        QueryError
            As `search` does.
        """
        check_k(k)
        source = self._source
        vector = self.queries.vector(query, edits)
        explanation = source.explain(vector, doc_id)
        return explanation, *source.why_not(vector, doc_id, k, params=params, filter=filter)

    def explain_hybrid(
        self,
        query: QueryInput,
        doc_id: str,
        hybrid: Hybrid,
        *,
        k: int = 10,
        params: Config | None = None,
        filter: Any | None = None,
        edits: QueryEdits | None = None,
        dense_query: DenseQuery | None = None,
    ) -> HybridPlace:
        """Return what both halves give to a document, whether they found it or not.

        Raises
        ------
        DocumentNotFoundError, QueryError, ArgumentError
            As `search` and `explain` do.
        """
        check_k(k)
        source = self._source
        half = self.require_dense(source)
        vector = self.queries.vector(query, edits)
        (dense,) = half.encode([dense_query_of(query, dense_query)])
        depth = max(hybrid.depth, k)
        halves = source.search_both(vector, dense, depth, params=params, filter=filter)
        every = fused(*halves, hybrid, 2 * depth)
        scores = (
            vector.dot(source.vector(doc_id)),
            float(source.dense_vector(doc_id) @ dense),
        )
        if doc_id not in every.doc_ids:
            return HybridPlace(None, 0.0, HitParts(*(Part(None, score, 0.0) for score in scores)))
        at = every.doc_ids.index(doc_id)
        assert every.parts is not None, "a hybrid search gives parts"
        parts = [p._replace(score=s) for p, s in zip(every.parts[at], scores, strict=True)]
        return HybridPlace(at + 1 if at < k else None, every.scores[at], HitParts(*parts))

    def require_document_encoder(self) -> DocumentEncoder:
        """Return what encodes documents.

        Raises
        ------
        ArgumentError
            If only the query side is here, or nothing.
        """
        if self.document_encoder is None:
            raise ArgumentError(
                f"The index {self.name!r} has no document encoder here.",
                hint="Send each document's `vector`, or encode with `lsr encode`; a service is "
                "given encoders with --encoder NAME=PATH.",
            )
        return self.document_encoder

    def shown_in(self, doc_id: str) -> frozenset[int] | None:
        """Return the terms that a document's text shows; None if that cannot be known here."""
        source = self._source
        if self.encoder is None or not source.has_documents:
            return None
        spans = self.encoder.spans(source.document(doc_id).content)
        return frozenset(span.term for span in spans)

    def encode_text(self, text: str, *, side: str = "query") -> EncodedText:
        """Return how a text is encoded as a query or as a document.

        Raises
        ------
        QueryError
            If the text is blank, or the index came without an encoder.
        ArgumentError
            If the document side is asked for and only the query side is here.
        """
        self.queries.check_text(text)
        encoder = self.queries.require_encoder()
        if side == "query":
            matrix = encoder.encode_queries([text])
        else:
            matrix = self.require_document_encoder().encode_documents([text])
        return EncodedText(matrix.row(0), places_by_term(encoder.spans(text)))
