"""The searching half of `serving.engine.Engine`: one query, a batch, both halves of a hybrid."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from indexing.base import check_k
from lsr.core.config import Config, load_config
from lsr.core.errors import ArgumentError, DocumentNotFoundError, QueryError
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, Int32Array, SparseVector
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import QueryEncoder
from serving.highlight import Highlight, find_highlights, find_origins, find_shown
from serving.hybrid import DenseHalf, DenseQuery, Hybrid, fused
from serving.probe import RecallProbe, Sample
from serving.queries import QueryEdits, QueryInput, QueryReader
from serving.results import Answer, Comparison, Detail, Found, Hit, HitParts, Times
from serving.sources import Source, overlap

__all__ = ["Searcher", "dense_query_of"]


class Searcher:
    """Searches one source; see `serving.engine.Engine`.

    Parameters
    ----------
    source : Source
        What is searched.
    queries : QueryReader
        Makes the vectors that are searched for.
    name : str
        How messages call the index.
    """

    def __init__(self, source: Source, queries: QueryReader, *, name: str) -> None:
        self.name = name
        self.queries = queries
        self.probe: RecallProbe | None = None
        self._source = source

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

    def search(
        self,
        query: QueryInput,
        k: int = 10,
        *,
        offset: int = 0,
        params: Config | None = None,
        filter: Any | None = None,
        edits: QueryEdits | None = None,
        hybrid: Hybrid | None = None,
        dense_query: DenseQuery | None = None,
        detail: Detail | None = None,
    ) -> Answer:
        """Return the best `k` documents for a query, behind the best `offset`.

        Parameters
        ----------
        query : str or mapping of str to float
            A text, or weights by token.
        k, offset : int
            Together 1 to `indexing.base.MAX_K`.
        params : optional
            Search parameters of the index's layout, from `params`.
        filter : optional
            In the filter language (`indexing.filters_language`).
        edits : QueryEdits, optional
            Changes to the encoded query.
        hybrid : Hybrid, optional
            Search the dense half too, and fuse.
        dense_query : optional
            What the dense half is asked; the query by default, which must be a text then.
        detail : Detail, optional
            What the hits carry; their documents by default.

        Raises
        ------
        QueryError, ArgumentError, FilterError
            If the query is empty or names unknown tokens, `k` is out of range, the filter breaks
            its rules, or there is no dense half.
        """
        check_k(offset + k)
        started = time.perf_counter()
        vector = self.queries.vector(query, edits)
        return self.search_vector(
            vector,
            k,
            offset=offset,
            params=params,
            filter=filter,
            hybrid=hybrid,
            dense_query=dense_query_of(query, dense_query) if hybrid is not None else None,
            detail=detail,
            encode_ms=(time.perf_counter() - started) * 1000,
        )

    def search_vector(
        self,
        vector: SparseVector,
        k: int = 10,
        *,
        offset: int = 0,
        params: Config | None = None,
        filter: Any | None = None,
        hybrid: Hybrid | None = None,
        dense_query: DenseQuery | None = None,
        detail: Detail | None = None,
        encode_ms: float = 0.0,
    ) -> Answer:
        """Return the best `k` documents for a vector; `encode_ms` is carried into the times.

        A hybrid search needs `dense_query`; else as `search`.
        """
        depth = offset + k
        check_k(depth)
        source, wanted = self._source, detail or Detail()
        needs_text = wanted.documents or wanted.highlights or wanted.explanation
        dense: Float32Array | None = None
        if hybrid is not None:
            assert dense_query is not None, "a hybrid search asks the dense half something"
            started = time.perf_counter()
            (dense,) = self.require_dense(source).encode([dense_query])
            encode_ms += (time.perf_counter() - started) * 1000
        candidates = max(hybrid.depth, depth) if hybrid is not None else depth
        probe = self.probe if self.probe is not None and self.probe.draw(params) else None
        generation = source.generation if probe is not None else 0
        started = time.perf_counter()
        near: Found | None = None
        if dense is None:
            found = source.search(vector, depth, params=params, filter=filter)
        else:
            found, near = source.search_both(
                vector, dense, candidates, params=params, filter=filter
            )
        if probe is not None:
            probe.offer(
                Sample(self.name, source, vector, candidates, filter, found.doc_ids, generation)
            )
        if near is not None and hybrid is not None:
            found = fused(found, near, hybrid, depth)
        searched = time.perf_counter()
        best = found.beyond(offset)
        if needs_text and source.has_documents:
            best = source.with_documents(best, origins=wanted.highlights)
        hits = self._hits(source, vector, best, wanted, offset=offset)
        fetched = time.perf_counter()
        comparison = None
        if wanted.comparison:
            comparison = self._comparison(source, vector, depth, found, filter=filter)
        times = Times(encode_ms, (searched - started) * 1000, (fetched - searched) * 1000)
        return Answer(vector, hits, times, comparison)

    def require_dense(self, source: Source) -> DenseHalf:
        """Return the dense half of a source; raises ArgumentError if it has none."""
        if source.dense is None:
            raise ArgumentError(
                f"{self.name!r} has no dense half, so no hybrid search.",
                hint="An index folder gets one with lsr index dense; a collection is made with one: "
                "`dense` or `dense_width` of POST /v1/indexes, lsr index create --dense MODEL.",
            )
        return source.dense

    def search_batch(
        self,
        queries: Sequence[QueryInput],
        k: int = 10,
        *,
        offset: int = 0,
        params: Config | None = None,
        filter: Any | None = None,
        hybrid: Hybrid | None = None,
        dense_queries: Sequence[DenseQuery] | None = None,
        detail: Detail | None = None,
        n_threads: int | None = None,
    ) -> tuple[list[list[Hit]], Times]:
        """Return the hits of every query, in their order, and the times of the whole batch.

        The arguments are those of `search`; `dense_queries` has one for each query.
        """
        depth = offset + k
        check_k(depth)
        source, wanted = self._source, detail or Detail(documents=False)
        started = time.perf_counter()
        matrix = self.queries.matrix(queries)
        dense: Float32Array | None = None
        if hybrid is not None:
            half = self.require_dense(source)
            given: Sequence[DenseQuery | None] = dense_queries or [None] * len(queries)
            if len(given) != len(queries):
                raise QueryError(f"{len(queries)} queries but {len(given)} dense vectors.")
            dense = half.encode([dense_query_of(*p) for p in zip(queries, given, strict=True)])
        encoded = time.perf_counter()
        how: dict[str, Any] = {"params": params, "filter": filter, "n_threads": n_threads}
        if dense is not None and hybrid is not None:
            pairs = source.search_both_batch(matrix, dense, max(hybrid.depth, depth), **how)
            found = [fused(*pair, hybrid, depth) for pair in pairs]
        else:
            found = source.search_batch(matrix, depth, **how)
        searched = time.perf_counter()
        best = [one.beyond(offset) for one in found]
        if wanted.documents and source.has_documents:
            best = [source.with_documents(one) for one in best]
        hits = [
            self._hits(source, matrix.row(at), one, wanted, offset=offset)
            for at, one in enumerate(best)
        ]
        fetched = time.perf_counter()
        stages = ((started, encoded), (encoded, searched), (searched, fetched))
        return hits, Times(*((end - start) * 1000 for start, end in stages))

    def _hits(
        self, source: Source, vector: SparseVector, found: Found, detail: Detail, *, offset: int
    ) -> list[Hit]:
        nothing: list[Document | None] = [None] * len(found.doc_ids)
        documents: Sequence[Document | None] = found.documents or nothing
        parts: Sequence[HitParts | None] = found.parts or [None] * len(found.doc_ids)
        hits: list[Hit] = []
        origins = found.origins or [None] * len(found.doc_ids)
        for doc_id, score, document, of_halves, of_text in zip(
            found.doc_ids, found.scores, documents, parts, origins, strict=True
        ):
            highlights = shown = explanation = None
            if detail.explanation or (document is not None and detail.highlights):
                try:
                    explanation = source.explain(vector, doc_id)
                except DocumentNotFoundError:
                    continue  # deleted since it was found
                if document is not None:
                    # Words whose term the document's vector lacks added nothing: no mark for them.
                    terms = [contribution.term for contribution in explanation.terms]
                    highlights, shown = self._marks(document, terms, of_text)
            hits.append(
                Hit(
                    rank=offset + len(hits) + 1,
                    doc_id=doc_id,
                    score=score,
                    document=document if detail.documents else None,
                    highlights=highlights,
                    shown=shown,
                    explanation=explanation if detail.explanation else None,
                    parts=of_halves,
                )
            )
        return hits

    def _marks(
        self, document: Document, terms: list[int], origins: tuple[Int32Array, Origins] | None
    ) -> tuple[list[Highlight] | None, frozenset[int] | None]:
        """Return the pieces that belong to a query's terms, and the terms that the text shows.

        None for what cannot be known here: without an encoder, or without positions.
        """
        shown = None if self.encoder is None else find_shown(self.encoder, document, terms)
        from_text = None if origins is None else find_origins(document, terms, origins)
        marks = None
        if shown is not None or from_text is not None:
            marks = find_highlights(shown or (), from_text or ())
        return marks, None if shown is None else frozenset(mark.term for mark in shown)

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


def dense_query_of(query: QueryInput, given: DenseQuery | None = None) -> DenseQuery:
    """Return what the dense half is asked: what was given for it, else the text of the query.

    Raises
    ------
    QueryError
        If the query is weights by token, and nothing was given.
    """
    if given is not None:
        return given
    if not isinstance(query, str):
        raise QueryError(
            "A hybrid search needs a text, which the dense half encodes; this query has weights.",
            hint="Send the query as a text, or its dense_vector too.",
        )
    return query
