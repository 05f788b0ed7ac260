"""Searching: one query, a batch, an explanation, a look at an encoding."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from lsr.core.errors import RequestError
from lsr.core.sparse import SparseVector
from serving.answers import (
    encoded_terms,
    explained_terms,
    hit_body,
    hit_parts,
    search_response,
    took,
)
from serving.engine import Engine
from serving.http_errors import documented
from serving.hybrid import Hybrid
from serving.queries import QueryEdits
from serving.results import Detail
from serving.routes.shared import (
    IndexName,
    json_bytes,
    json_response,
    log,
    request_id,
    require,
    service_of,
)
from serving.schemas import QUERY_EXAMPLE, QueryText
from serving.schemas_search import (
    BatchRequest,
    BatchResponse,
    Depth,
    EncodeRequest,
    EncodeResponse,
    ExplainRequest,
    ExplainResponse,
    FieldName,
    HybridExplanation,
    HybridRequest,
    Offset,
    QueryEdit,
    SearchRequest,
    SearchResponse,
    Took,
)
from serving.schemas_search import TermWeight as TermWeightBody
from serving.searcher import dense_query_of

__all__ = ["router"]

router = APIRouter(prefix="/v1/indexes/{name}", tags=["search"], dependencies=[require("read")])


class SearchParameters(BaseModel):
    """The search that fits into an address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: QueryText = Field(examples=[QUERY_EXAMPLE])
    k: Depth = 10
    offset: Offset = 0
    fields: list[FieldName] = Field(default_factory=lambda: ["title", "text"], max_length=64)
    explain: bool = False
    highlight: bool = False


@router.post(
    "/search",
    response_model=SearchResponse,
    responses=documented(400, 401, 403, 404, 413, 422, 503),
    summary="Search an index",
)
async def post_search(name: IndexName, body: SearchRequest, request: Request) -> Response:
    """Return the best documents for a text or for weights by token."""
    return await _search(name, body, request)


@router.get(
    "/search",
    response_model=SearchResponse,
    responses=documented(401, 403, 404, 422, 503),
    summary="Search an index from a browser",
)
async def get_search(
    name: IndexName,
    parameters: Annotated[SearchParameters, Query()],
    request: Request,
) -> Response:
    """Return the best documents for a text; the same as POST with fewer options."""
    body = SearchRequest(query=parameters.q, **parameters.model_dump(exclude={"q"}))
    return await _search(name, body, request)


def _check_depth(body: SearchRequest | BatchRequest, limit: int) -> None:
    if body.offset + body.k > limit:
        raise RequestError(
            f"offset + k: at most {limit} (got {body.offset} + {body.k})",
            hint="Narrow the search down instead, or raise LSR_SERVE_MAX_DEPTH.",
        )


def _check_dense(given: object, hybrid: HybridRequest | None, name: str) -> None:
    if given is not None and hybrid is None:
        raise RequestError(
            f"{name}: only a hybrid search uses it.", hint="Add `hybrid`: {} for its defaults."
        )


async def _search(name: str, body: SearchRequest, request: Request) -> Response:
    service = service_of(request)
    _check_depth(body, service.settings.max_depth)
    if body.hybrid is not None and body.compare_exact:
        raise RequestError("compare_exact: a hybrid search has no exact one to compare with.")
    _check_dense(body.dense_vector, body.hybrid, "dense_vector")
    with await service.use(name) as served:
        vector, encode_ms = None, 0.0
        if isinstance(body.query, str):
            started = time.perf_counter()
            vector = await service.encode_together(served, body.query)
            encode_ms = (time.perf_counter() - started) * 1000
        content, times = await service.run(
            _answer,
            served.engine,
            body,
            vector,
            encode_ms=encode_ms,
            request_id=request_id(request),
        )
    service.observe(name, times)
    log(request, index=name, k=body.k, took_ms=times.model_dump())
    if service.settings.log_queries:
        log(request, query=body.query)
    return json_response(content)


def _answer(
    engine: Engine,
    body: SearchRequest,
    vector: SparseVector | None,
    *,
    encode_ms: float,
    request_id: str,
) -> tuple[bytes, Took]:
    """Search and serialise; runs in a thread."""
    params = engine.params(body.params, target_recall=body.target_recall)
    edits = _edits(body.edit)
    detail = Detail(
        documents=bool(body.fields),
        highlights=body.highlight,
        explanation=body.explain,
        comparison=body.compare_exact,
    )
    hybrid = _hybrid(body.hybrid)
    how: dict[str, Any] = {
        "offset": body.offset,
        "params": params,
        "filter": body.filter,
        "detail": detail,
    }
    if vector is None:
        answer = engine.search(
            body.query, body.k, edits=edits, hybrid=hybrid, dense_query=body.dense_vector, **how
        )
    else:
        if edits is not None:
            vector = engine.queries.edited(vector, edits)
        answer = engine.search_vector(
            vector,
            body.k,
            hybrid=hybrid,
            dense_query=dense_query_of(body.query, body.dense_vector),
            encode_ms=encode_ms,
            **how,
        )
    response = search_response(
        engine,
        answer,
        fields=body.fields,
        highlight=body.highlight,
        in_query=engine.queries.shown_terms(body.query, edits) if body.explain else None,
        params=params.model_dump(mode="json") if params is not None else {},
        request_id=request_id,
    )
    return json_bytes(response), took(answer.times)


def _hybrid(asked: HybridRequest | None) -> Hybrid | None:
    if asked is None:
        return None
    return Hybrid(
        fusion=asked.fusion,
        sparse=asked.weights.sparse,
        dense=asked.weights.dense,
        rrf_k=asked.rrf_k,
        depth=asked.depth,
    )


def _edits(edit: QueryEdit | None) -> QueryEdits | None:
    return None if edit is None else QueryEdits(edit.boost, edit.drop, edit.add)


@router.post(
    "/search/batch",
    response_model=BatchResponse,
    responses=documented(400, 401, 403, 404, 413, 422, 503),
    summary="Search an index for many queries",
)
async def post_batch(name: IndexName, body: BatchRequest, request: Request) -> Response:
    """Return the best documents of every query, in the order of the queries."""
    service = service_of(request)
    _check_depth(body, service.settings.max_depth)
    limit = service.settings.max_batch
    if len(body.queries) > limit:
        raise RequestError(
            f"queries: at most {limit} in one batch (got {len(body.queries)})",
            hint="Send several batches, or raise LSR_SERVE_MAX_BATCH.",
        )
    _check_dense(body.dense_vectors, body.hybrid, "dense_vectors")
    with await service.use(name) as served:
        content, times = await service.run(_batch_answer, served.engine, body, request_id(request))
    service.observe(name, times)
    log(request, index=name, k=body.k, n_queries=len(body.queries), took_ms=times.model_dump())
    return json_response(content)


def _batch_answer(engine: Engine, body: BatchRequest, request_id: str) -> tuple[bytes, Took]:
    params = engine.params(body.params, target_recall=body.target_recall)
    results, times = engine.search_batch(
        body.queries,
        body.k,
        offset=body.offset,
        params=params,
        filter=body.filter,
        hybrid=_hybrid(body.hybrid),
        dense_queries=body.dense_vectors,
        detail=Detail(documents=bool(body.fields)),
    )
    response = {
        "index": engine.name,
        "results": [
            {"hits": [hit_body(hit, engine.vocabulary, fields=body.fields) for hit in hits]}
            for hits in results
        ],
        "params": params.model_dump(mode="json") if params is not None else {},
        "took_ms": took(times),
        "request_id": request_id,
    }
    return json_bytes(response), took(times)


@router.post(
    "/explain",
    response_model=ExplainResponse,
    responses=documented(400, 401, 403, 404, 413, 422, 503),
    summary="Explain the score of a document",
)
async def post_explain(name: IndexName, body: ExplainRequest, request: Request) -> Response:
    """Return what each term gives to the score of one document, found by the query or not."""
    service = service_of(request)
    _check_dense(body.dense_vector, body.hybrid, "dense_vector")
    log(request, index=name)
    with await service.use(name) as served:
        return json_response(
            await service.run(_explain_answer, served.engine, body, request_id(request))
        )


def _explain_answer(engine: Engine, body: ExplainRequest, request_id: str) -> bytes:
    edits = _edits(body.edit)
    params = engine.params(body.params)
    explanation, reason, message = engine.explain(
        body.query, body.doc_id, k=body.k, params=params, filter=body.filter, edits=edits
    )
    halves: dict[str, Any] = {}
    if (hybrid := _hybrid(body.hybrid)) is not None:
        place = engine.explain_hybrid(
            body.query,
            body.doc_id,
            hybrid,
            k=body.k,
            params=params,
            filter=body.filter,
            edits=edits,
            dense_query=body.dense_vector,
        )
        halves["hybrid"] = HybridExplanation(
            rank=place.rank, score=place.score, parts=hit_parts(place.parts)
        )
    return json_bytes(
        ExplainResponse(
            index=engine.name,
            doc_id=body.doc_id,
            score=explanation.score,
            terms=explained_terms(
                explanation,
                in_query=engine.queries.shown_terms(body.query, edits),
                in_document=engine.shown_in(body.doc_id),
            ),
            missing=[
                TermWeightBody(token=line.token, weight=line.query_weight)
                for line in explanation.missing
            ],
            reason=reason,
            message=message,
            request_id=request_id,
            **halves,
        )
    )


@router.post(
    "/encode",
    response_model=EncodeResponse,
    responses=documented(400, 401, 403, 404, 413, 422, 503),
    summary="Show how a text is encoded",
)
async def post_encode(name: IndexName, body: EncodeRequest, request: Request) -> Response:
    """Return the terms of a text, their weights, and which pieces of the text show them."""
    service = service_of(request)
    log(request, index=name)
    with await service.use(name) as served:
        return json_response(
            await service.run(_encode_answer, served.engine, body, request_id(request))
        )


def _encode_answer(engine: Engine, body: EncodeRequest, request_id: str) -> bytes:
    started = time.perf_counter()
    encoded = engine.encode_text(body.text, side=body.side)
    elapsed_ms = (time.perf_counter() - started) * 1000
    values: dict[str, Any] = {"index": engine.name, "side": body.side, "request_id": request_id}
    return json_bytes(
        EncodeResponse(
            encoder=engine.queries.require_encoder().name,
            terms=encoded_terms(encoded, engine.vocabulary),
            took_ms=round(elapsed_ms, 3),
            **values,
        )
    )
