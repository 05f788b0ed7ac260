"""Search as a library: encode, search, fetch, explain. Knows nothing of HTTP.

An engine holds one index folder and the query side of its encoder. Every method is safe to call
from many threads at once: a call takes the folder once and works on that, so `replace` may swap
in a newer one while searches run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexing.base import SearchResult, check_k
from indexing.explain import Explanation, explain
from indexing.storage import IndexFolder
from lsr.core.config import Config, load_config
from lsr.core.errors import ArgumentError, DocumentNotFoundError
from lsr.core.records import Document
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import Encoder, QueryEncoder
from lsr.encoders.loading import load_encoder
from serving.highlight import Highlight, find_highlights
from serving.queries import QueryEdits, QueryInput, QueryReader

__all__ = ["Answer", "Detail", "EncodedText", "Engine", "Hit", "Times"]


@dataclass(frozen=True, slots=True)
class Detail:
    """What a hit carries beside identifier and score."""

    documents: bool = True
    highlights: bool = False
    explanation: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """One result; what was not asked for is None.

    `highlights` come with an explanation too: they tell which terms the text shows.
    """

    rank: int
    row: int
    doc_id: str
    score: float
    document: Document | None = None
    highlights: list[Highlight] | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds by stage; `fetch` is documents, highlights and explanations."""

    encode: float
    search: float
    fetch: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The results of one query, and the query as it was searched for."""

    query: SparseVector
    hits: list[Hit]
    times: Times


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text's vector, and for each of its terms the pieces of text that stand for it."""

    vector: SparseVector
    spans: dict[int, list[tuple[int, int]]]


class Engine:
    """Searches one index.

    Parameters
    ----------
    folder : IndexFolder
        The open index.
    encoder : QueryEncoder, optional
        Encodes text; without one only queries of terms and weights can be answered.
    name : str, optional
        How messages call the index; default the folder's name.
    examples : sequence of str
        Queries to try.

    Attributes
    ----------
    queries : QueryReader
        Makes the vectors that are searched for.
    query_ms : float
        What encoding one query takes, measured by `warm_up`; 0 before.

    Raises
    ------
    VocabularyMismatchError
        If the encoder's vocabulary is not the index's.
    """

    def __init__(
        self,
        folder: IndexFolder,
        encoder: QueryEncoder | None,
        *,
        name: str = "",
        examples: Sequence[str] = (),
    ) -> None:
        self.name = name or folder.path.name
        if encoder is not None:
            encoder.vocabulary.require_same(
                folder.vocabulary.fingerprint,
                mine=f"The query encoder {encoder.name!r}",
                theirs=f"the index {self.name!r}",
            )
        self.examples = tuple(examples)
        self.queries = QueryReader(encoder, folder.vocabulary, index=self.name)
        self.query_ms = 0.0
        self._folder = folder

    @classmethod
    def open(cls, path: Path, *, name: str = "", examples: Sequence[str] = ()) -> Engine:
        """Return an engine over the index folder at `path` and the query side inside it.

        Raises
        ------
        ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
            If the index is not there, not readable by this release, or damaged.
        VocabularyMismatchError
            If the query side was exchanged for another one.
        """
        folder = IndexFolder.open(path)
        try:
            # Parts are opened on first use; damage shall show now, not in the first request.
            _ = (folder.index, folder.doc_ids, folder.vocabulary, folder.documents)
            side = folder.query_encoder_path
            encoder = load_encoder(side) if side is not None else None
            return cls(folder, encoder, name=name, examples=examples)
        except BaseException:
            folder.close()
            raise

    @property
    def folder(self) -> IndexFolder:
        """The index that searches use now."""
        return self._folder

    @property
    def encoder(self) -> QueryEncoder | None:
        """What encodes text here."""
        return self.queries.encoder

    @property
    def vocabulary(self) -> Vocabulary:
        """Shared by queries and documents."""
        return self.queries.vocabulary

    @property
    def n_documents(self) -> int:
        """Number of documents that can be found."""
        return self._folder.index.n_documents

    def replace(self, folder: IndexFolder) -> IndexFolder:
        """Let the searches that start from now on use `folder`; return the one before.

        Raises
        ------
        VocabularyMismatchError
            If it has another vocabulary.
        """
        self.vocabulary.require_same(
            folder.vocabulary.fingerprint,
            mine=f"The index {self.name!r}",
            theirs=f"the new index {folder.path.name!r}",
        )
        before, self._folder = self._folder, folder
        return before

    def warm_up(self) -> None:
        """Run every stage once, so that no request pays for compiling or first page faults."""
        if self.encoder is not None:
            times = []
            for _ in range(4):  # the first one pays for loading
                started = time.perf_counter()
                self.queries.encode(["how long does the encoding of a question take here"])
                times.append(time.perf_counter() - started)
            self.query_ms = min(times) * 1000
        if self.n_documents:
            first = self._folder.index.document(0).top(8)
            self.search_vector(first, 1, detail=Detail(highlights=True, explanation=True))

    def close(self) -> None:
        """Close the index's files; the engine cannot be used afterwards."""
        self._folder.close()

    # --- search --------------------------------------------------------------------------

    def search(
        self,
        query: QueryInput,
        k: int = 10,
        *,
        params: Any | None = None,
        edits: QueryEdits | None = None,
        detail: Detail | None = None,
    ) -> Answer:
        """Return the best `k` documents for a query.

        Parameters
        ----------
        query : str or mapping of str to float
            A text, or weights by token.
        k : int
            1 to `indexing.base.MAX_K`.
        params : optional
            Search parameters of the index's layout, from `parse_params`.
        edits : QueryEdits, optional
            Changes to the encoded query.
        detail : Detail, optional
            What the hits carry; their documents by default.

        Raises
        ------
        QueryError, ArgumentError
            If the query is empty or names unknown tokens, or `k` is out of range.
        """
        check_k(k)
        started = time.perf_counter()
        vector = self.queries.vector(query, edits)
        encode_ms = (time.perf_counter() - started) * 1000
        return self.search_vector(vector, k, params=params, detail=detail, encode_ms=encode_ms)

    def search_vector(
        self,
        vector: SparseVector,
        k: int = 10,
        *,
        params: Any | None = None,
        detail: Detail | None = None,
        encode_ms: float = 0.0,
    ) -> Answer:
        """Return the best `k` documents for a vector; `encode_ms` is carried into the times."""
        check_k(k)
        folder = self._folder
        started = time.perf_counter()
        found = folder.index.search(vector, k, params=params)
        searched = time.perf_counter()
        hits = self._hits(folder, vector, found, detail or Detail())
        fetched = time.perf_counter()
        times = Times(encode_ms, (searched - started) * 1000, (fetched - searched) * 1000)
        return Answer(vector, hits, times)

    def search_batch(
        self,
        queries: Sequence[QueryInput],
        k: int = 10,
        *,
        params: Any | None = None,
        detail: Detail | None = None,
        n_threads: int | None = None,
    ) -> tuple[list[list[Hit]], Times]:
        """Return the hits of every query, in their order, and the times of the whole batch."""
        check_k(k)
        folder = self._folder
        started = time.perf_counter()
        matrix = self.queries.matrix(queries)
        encoded = time.perf_counter()
        found = folder.index.search_batch(matrix, k, params=params, n_threads=n_threads)
        searched = time.perf_counter()
        wanted = detail or Detail(documents=False)
        hits = [self._hits(folder, matrix.row(at), found[at], wanted) for at in range(len(queries))]
        fetched = time.perf_counter()
        stages = ((started, encoded), (encoded, searched), (searched, fetched))
        return hits, Times(*((end - start) * 1000 for start, end in stages))

    def _hits(
        self, folder: IndexFolder, vector: SparseVector, found: SearchResult, detail: Detail
    ) -> list[Hit]:
        rows, scores = found.rows.tolist(), found.scores.tolist()
        documents: Sequence[Document | None] = [None] * len(rows)
        if (
            detail.documents or detail.highlights or detail.explanation
        ) and folder.documents is not None:
            documents = folder.documents.get_rows(rows)
        hits = []
        terms = vector.terms.tolist()
        for at, (row, score, document) in enumerate(zip(rows, scores, documents, strict=True)):
            highlights = explanation = None
            # An explanation says which terms the text shows, so it needs them too.
            wanted = detail.highlights or detail.explanation
            if wanted and document is not None and self.encoder is not None:
                highlights = find_highlights(self.encoder, document, terms)
            if detail.explanation:
                explanation = explain(folder.index, vector, row, folder.vocabulary)
            hits.append(
                Hit(
                    rank=at + 1,
                    row=row,
                    doc_id=folder.doc_ids[row],
                    score=score,
                    document=document if detail.documents else None,
                    highlights=highlights,
                    explanation=explanation,
                )
            )
        return hits

    # --- looking closer ------------------------------------------------------------------

    def document(self, doc_id: str) -> Document:
        """Return a stored document.

        Raises
        ------
        DocumentNotFoundError
            If there is none of this id, or the index stores no documents.
        """
        folder = self._folder
        row = self._row(folder, doc_id)
        if folder.documents is None:
            raise DocumentNotFoundError(
                f"The index {self.name!r} stores identifiers and vectors, but no texts.",
                hint="Build it again with the corpus to store the documents.",
            )
        return folder.documents.get_row(row)

    def _row(self, folder: IndexFolder, doc_id: str) -> int:
        row = folder.doc_ids.row(doc_id)
        if row is None:
            raise DocumentNotFoundError(
                f"The index {self.name!r} has no document {doc_id!r}.",
                hint="Identifiers are exact: case, spaces and punctuation count.",
            )
        return row

    def explain(
        self, query: QueryInput, doc_id: str, *, edits: QueryEdits | None = None
    ) -> Explanation:
        """Return why document `doc_id` has its score for a query, found or not.

        Raises
        ------
        DocumentNotFoundError
            If there is none of this id.
        QueryError
            As `search` does.
        """
        folder = self._folder
        row = self._row(folder, doc_id)
        return explain(folder.index, self.queries.vector(query, edits), row, folder.vocabulary)

    def shown_in(self, row: int) -> frozenset[int] | None:
        """Return the terms that a document's text shows; None if that cannot be known here."""
        documents = self._folder.documents
        if documents is None or self.encoder is None:
            return None
        return frozenset(span.term for span in self.encoder.spans(documents.get_row(row).content))

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
        elif isinstance(encoder, Encoder):
            matrix = encoder.encode_documents([text])
        else:
            raise ArgumentError(
                f"The index {self.name!r} carries only the query side of {encoder.name!r}.",
                hint="Encode documents with `lsr encode`, or look at the query side.",
            )
        spans: dict[int, list[tuple[int, int]]] = {}
        for span in encoder.spans(text):
            spans.setdefault(span.term, []).append((span.start, span.end))
        return EncodedText(matrix.row(0), spans)

    # --- parameters ----------------------------------------------------------------------

    @property
    def params_model(self) -> type[Config] | None:
        """The search parameters of the index's layout, or None if it has none."""
        model: type[Config] | None = getattr(self._folder.index, "params_model", None)
        return model

    def parse_params(self, values: Mapping[str, Any] | None) -> Any | None:
        """Return the search parameters of `values` above the index's defaults.

        Raises
        ------
        ConfigError
            Naming every parameter that is unknown or out of range.
        ArgumentError
            If the layout has no parameters and `values` has some.
        """
        if self.params_model is not None:
            return load_config(self.params_model, values=values)
        if values:
            raise ArgumentError(
                f"The layout {self._folder.layout!r} has no search parameters, got "
                f"{', '.join(map(repr, values))}.",
                hint="Leave `params` out.",
            )
        return None
