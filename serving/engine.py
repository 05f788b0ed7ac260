"""Search as a library: encode, search, fetch, explain. Knows nothing of HTTP.

An engine holds one source (an index folder, a collection) and the query side of its encoder.
Every method is safe to call from many threads at once: a call takes the source once and works on
that, so `replace` may swap in a newer one while searches run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from indexing.base import check_k
from indexing.explain import Explanation
from indexing.storage import IndexFolder
from lsr.core.config import Config, load_config
from lsr.core.errors import ArgumentError
from lsr.core.records import Document
from lsr.core.sparse import SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import Encoder, QueryEncoder
from lsr.encoders.loading import load_encoder
from serving.encoding import DocumentEncoder
from serving.highlight import find_highlights
from serving.probe import RecallProbe, Sample
from serving.queries import QueryEdits, QueryInput, QueryReader
from serving.results import Answer, Comparison, Detail, EncodedText, Hit, Times
from serving.sources import FolderSource, Found, Source, open_source, overlap

__all__ = ["Engine"]


class Engine:
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
        self.name = name or opened.path.name
        if encoder is not None:
            encoder.vocabulary.require_same(
                opened.vocabulary.fingerprint,
                mine=f"The query encoder {encoder.name!r}",
                theirs=f"the index {self.name!r}",
            )
        self.examples = tuple(examples)
        self.queries = QueryReader(encoder, opened.vocabulary, index=self.name)
        self.document_encoder: DocumentEncoder | None = (
            encoder if isinstance(encoder, Encoder) else None
        )
        self.query_ms = 0.0
        self.probe: RecallProbe | None = None
        self._source = opened

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

    @property
    def source(self) -> Source:
        """What searches use now."""
        return self._source

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
        return self._source.n_documents

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

    def warm_up(self) -> None:
        """Run every stage, so that no request pays for compiling or first page faults."""
        if self.encoder is not None:
            times = []
            for _ in range(4):  # the first one pays for loading
                started = time.perf_counter()
                self.queries.encode(["how long does the encoding of a question take here"])
                times.append(time.perf_counter() - started)
            self.query_ms = min(times) * 1000
        everything = Detail(highlights=True, explanation=True, comparison=True)
        # The first terms of the vocabulary; whether they find anything does not matter.
        some = dict.fromkeys(range(min(8, len(self.vocabulary))), 1.0)
        vector = SparseVector.from_mapping(some, len(self.vocabulary))
        self.search_vector(vector, 1, detail=everything)

    def close(self) -> None:
        """Close the index's files; the engine cannot be used afterwards."""
        self._source.close()

    # --- search --------------------------------------------------------------------------

    def search(
        self,
        query: QueryInput,
        k: int = 10,
        *,
        params: Config | None = None,
        filter: Any | None = None,
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
            Search parameters of the index's layout, from `params`.
        filter : optional
            In the filter language of collections.
        edits : QueryEdits, optional
            Changes to the encoded query.
        detail : Detail, optional
            What the hits carry; their documents by default.

        Raises
        ------
        QueryError, ArgumentError, FilterError
            If the query is empty or names unknown tokens, `k` is out of range, or the filter
            breaks its rules.
        """
        check_k(k)
        started = time.perf_counter()
        vector = self.queries.vector(query, edits)
        return self.search_vector(
            vector,
            k,
            params=params,
            filter=filter,
            detail=detail,
            encode_ms=(time.perf_counter() - started) * 1000,
        )

    def search_vector(
        self,
        vector: SparseVector,
        k: int = 10,
        *,
        params: Config | None = None,
        filter: Any | None = None,
        detail: Detail | None = None,
        encode_ms: float = 0.0,
    ) -> Answer:
        """Return the best `k` documents for a vector; `encode_ms` is carried into the times."""
        check_k(k)
        source, wanted = self._source, detail or Detail()
        needs_text = wanted.documents or wanted.highlights or wanted.explanation
        probe = self.probe if self.probe is not None and self.probe.draw(params) else None
        generation = source.generation if probe is not None else 0
        started = time.perf_counter()
        found = source.search(vector, k, params=params, filter=filter)
        searched = time.perf_counter()
        if probe is not None:
            probe.offer(Sample(self.name, source, vector, k, filter, found.doc_ids, generation))
        if needs_text and source.has_documents:
            found = source.with_documents(found)
        hits = self._hits(source, vector, found, wanted)
        fetched = time.perf_counter()
        comparison = None
        if wanted.comparison:
            comparison = self._comparison(source, vector, k, found, filter=filter)
        times = Times(encode_ms, (searched - started) * 1000, (fetched - searched) * 1000)
        return Answer(vector, hits, times, comparison)

    def search_batch(
        self,
        queries: Sequence[QueryInput],
        k: int = 10,
        *,
        params: Config | None = None,
        filter: Any | None = None,
        detail: Detail | None = None,
        n_threads: int | None = None,
    ) -> tuple[list[list[Hit]], Times]:
        """Return the hits of every query, in their order, and the times of the whole batch."""
        check_k(k)
        source, wanted = self._source, detail or Detail(documents=False)
        started = time.perf_counter()
        matrix = self.queries.matrix(queries)
        encoded = time.perf_counter()
        found = source.search_batch(matrix, k, params=params, filter=filter, n_threads=n_threads)
        searched = time.perf_counter()
        if wanted.documents and source.has_documents:
            found = [source.with_documents(one) for one in found]
        hits = [self._hits(source, matrix.row(at), one, wanted) for at, one in enumerate(found)]
        fetched = time.perf_counter()
        stages = ((started, encoded), (encoded, searched), (searched, fetched))
        return hits, Times(*((end - start) * 1000 for start, end in stages))

    def _hits(
        self, source: Source, vector: SparseVector, found: Found, detail: Detail
    ) -> list[Hit]:
        nothing: list[Document | None] = [None] * len(found.doc_ids)
        documents: Sequence[Document | None] = found.documents or nothing
        terms = vector.terms.tolist()
        hits = []
        for at, (doc_id, score, document) in enumerate(
            zip(found.doc_ids, found.scores, documents, strict=True)
        ):
            highlights = explanation = None
            # An explanation says which terms the text shows, so it needs them too.
            marked = detail.highlights or detail.explanation
            if marked and document is not None and self.encoder is not None:
                highlights = find_highlights(self.encoder, document, terms)
            if detail.explanation:
                explanation = source.explain(vector, doc_id)
            hits.append(
                Hit(
                    rank=at + 1,
                    doc_id=doc_id,
                    score=score,
                    document=document if detail.documents else None,
                    highlights=highlights,
                    explanation=explanation,
                )
            )
        return hits

    def _comparison(
        self,
        source: Source,
        vector: SparseVector,
        k: int,
        found: Found,
        *,
        filter: Any | None,
    ) -> Comparison:
        model = source.params_model
        params = model.model_validate({"exact": True}) if model is not None else None
        started = time.perf_counter()
        exact = source.search(vector, k, params=params, filter=filter)
        ms = (time.perf_counter() - started) * 1000
        had = set(found.doc_ids)
        missed = [doc_id for doc_id in exact.doc_ids if doc_id not in had]
        return Comparison(overlap(found.doc_ids, exact.doc_ids), missed, ms)

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
        return explanation, *source.why_not(vector, doc_id, k, params=params)

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
        spans: dict[int, list[tuple[int, int]]] = {}
        for span in encoder.spans(text):
            spans.setdefault(span.term, []).append((span.start, span.end))
        return EncodedText(matrix.row(0), spans)

    # --- parameters ----------------------------------------------------------------------

    def params(
        self, values: Mapping[str, Any] | None = None, *, target_recall: float | None = None
    ) -> Config | None:
        """Return search parameters: of `values`, or those tuned for a recall, or the defaults.

        Raises
        ------
        ConfigError
            Naming every parameter that is unknown or out of range.
        ArgumentError
            If both are given, the layout has no parameters and `values` has some, or the index
            has not been tuned for the recall.
        """
        source = self._source
        if target_recall is not None:
            if values:
                raise ArgumentError("Give target_recall or params, not both.")
            return source.params_for(target_recall)
        if source.params_model is not None:
            return load_config(source.params_model, values=values)
        if values:
            raise ArgumentError(
                f"The layout {source.layout!r} has no search parameters, got "
                f"{', '.join(map(repr, values))}.",
                hint="Leave `params` out.",
            )
        return None
