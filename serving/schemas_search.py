"""What the API takes and gives where indexes are searched; rules as in `serving.schemas`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field

from indexing.base import MAX_K
from serving.schemas import (
    MAX_QUERY_TERMS,
    MAX_TEXT_CHARS,
    NOT_BLANK,
    QUERY_EXAMPLE,
    AnswerModel,
    DenseVector,
    FilterJson,
    QueryTerms,
    QueryText,
    RequestModel,
    TermText,
    Weight,
)

__all__ = [
    "BatchItem",
    "BatchRequest",
    "BatchResponse",
    "Depth",
    "DocumentBody",
    "EncodeRequest",
    "EncodeResponse",
    "EncodedTerm",
    "ExactComparison",
    "ExplainRequest",
    "ExplainResponse",
    "ExplainedTerm",
    "FieldName",
    "FusionWeights",
    "HighlightBody",
    "HitBody",
    "HitPartsBody",
    "HybridExplanation",
    "HybridRequest",
    "Offset",
    "PartBody",
    "QueryBody",
    "QueryEdit",
    "SearchRequest",
    "SearchResponse",
    "TermWeight",
    "Took",
]

FieldName: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^(title|text|metadata(\..{1,200})?)$",
        description="`title`, `text`, `metadata`, or one value of it: `metadata.year`.",
        examples=["title", "metadata.year"],
    ),
]
Depth: TypeAlias = Annotated[int, Field(ge=1, le=MAX_K, description="Number of results.")]
Offset: TypeAlias = Annotated[
    int,
    Field(
        ge=0,
        lt=MAX_K,
        description="Leave out so many of the best; `offset + k` is bounded by the service.",
    ),
]

Params: TypeAlias = Annotated[
    dict[str, Any] | None,
    Field(
        max_length=32,
        description="Search parameters of the index's layout; see `parameters` of the index.",
    ),
]
Recall: TypeAlias = Annotated[
    float | None,
    Field(
        gt=0,
        le=1,
        description="In place of `params`: those measured to reach this recall on this index "
        "(`lsr index tune`).",
    ),
]


class FusionWeights(RequestModel):
    """How much each half of a hybrid search counts; not both 0."""

    sparse: float = Field(default=1.0, ge=0, le=1e3, allow_inf_nan=False)
    dense: float = Field(default=1.0, ge=0, le=1e3, allow_inf_nan=False)


class HybridRequest(RequestModel):
    """A hybrid search: sparse and dense, fused. The index needs a dense half.

    What it is asked is the query's text, through the bi-encoder, or a dense vector.
    """

    fusion: Literal["rrf", "convex"] = Field(
        default="rrf",
        description="`rrf`: reciprocal ranks. `convex`: scores, min-max normalised among the "
        "candidates, weights scaled to the sum 1.",
    )
    weights: FusionWeights = Field(default_factory=FusionWeights)
    rrf_k: int = Field(
        default=60, ge=0, le=1000, description="Higher: the first ranks weigh less. For `rrf`."
    )
    depth: int = Field(
        default=100, ge=1, le=1000, description="Candidates of each half; at least `offset + k`."
    )


class QueryEdit(RequestModel):
    """Changes to an encoded query: what a user would tell the encoder."""

    boost: dict[TermText, Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        max_length=MAX_QUERY_TERMS,
        description="Factors for terms of the query; 0 drops a term.",
        examples=[{"network": 2.0}],
    )
    drop: list[TermText] = Field(
        default_factory=list, max_length=MAX_QUERY_TERMS, description="Terms to leave out."
    )
    add: dict[TermText, Weight] = Field(
        default_factory=dict,
        max_length=MAX_QUERY_TERMS,
        description="Terms to add, with their weights; they replace the encoder's weight.",
    )


class SearchRequest(RequestModel):
    """A search."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": QUERY_EXAMPLE, "k": 3},
                {"query": {"super": 2.1, "bowl": 3.4}, "k": 10, "fields": []},
                {"query": QUERY_EXAMPLE, "k": 3, "explain": True, "highlight": True},
                {"query": QUERY_EXAMPLE, "k": 10, "offset": 10, "fields": ["metadata.year"]},
                {"query": QUERY_EXAMPLE, "hybrid": {"fusion": "convex", "weights": {"dense": 2}}},
                {
                    "query": QUERY_EXAMPLE,
                    "hybrid": {},
                    "filter": {"range": {"year": {"gte": 2016}}},
                },
                {"query": {"super": 2.1}, "hybrid": {}, "dense_vector": [0.6, 0.0, 0.8]},
            ]
        }
    )

    query: QueryText | QueryTerms
    k: Depth = 10
    offset: Offset = 0
    hybrid: HybridRequest | None = Field(default=None, description="Search the dense half too.")
    dense_vector: DenseVector | None = Field(
        default=None, description="With `hybrid`: in place of what a bi-encoder makes of the text."
    )
    params: Params = None
    target_recall: Recall = None
    filter: FilterJson = None
    edit: QueryEdit | None = Field(default=None, description="Changes to the encoded query.")
    fields: list[FieldName] = Field(
        default_factory=lambda: ["title", "text"],
        max_length=64,
        description="Fields of the documents to return; `[]` returns identifiers and scores only.",
    )
    explain: bool = Field(default=False, description="Return each term's share of the score.")
    highlight: bool = Field(
        default=False, description="Return which pieces of the text belong to terms of the query."
    )
    compare_exact: bool = Field(
        default=False, description="Search exhaustively too, and return what was missed."
    )


class BatchRequest(RequestModel):
    """Many searches in one request, answered in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"queries": [QUERY_EXAMPLE, {"super": 2.1, "bowl": 3.4}], "k": 3}]
        }
    )

    queries: list[QueryText | QueryTerms] = Field(min_length=1)
    k: Depth = 10
    offset: Offset = 0
    hybrid: HybridRequest | None = Field(default=None, description="Search the dense half too.")
    dense_vectors: list[DenseVector] | None = Field(
        default=None,
        min_length=1,
        description="With `hybrid`: one for each query, in place of what a bi-encoder makes of it.",
    )
    params: Params = None
    target_recall: Recall = None
    filter: FilterJson = None
    fields: list[FieldName] = Field(default_factory=list, max_length=64)


class ExplainRequest(RequestModel):
    """A query and one document of the index."""

    query: QueryText | QueryTerms = Field(examples=[QUERY_EXAMPLE])
    doc_id: str = Field(min_length=1, max_length=1024, examples=["Super_Bowl_50_3"])
    k: Depth = 10
    params: Params = None
    filter: FilterJson = None
    edit: QueryEdit | None = None
    hybrid: HybridRequest | None = Field(
        default=None, description="Tell what the dense half gives, too."
    )
    dense_vector: DenseVector | None = Field(
        default=None, description="With `hybrid`: in place of what a bi-encoder makes of the text."
    )


class EncodeRequest(RequestModel):
    """A text to look at through the index's encoder."""

    text: str = Field(
        max_length=MAX_TEXT_CHARS, examples=[QUERY_EXAMPLE], json_schema_extra=NOT_BLANK
    )
    side: Literal["query", "document"] = Field(
        default="query", description="`document` needs an encoder that has its document side."
    )


class TermWeight(AnswerModel):
    """A term of an encoded query."""

    token: str
    weight: float
    in_query: bool | None = Field(
        default=None, description="With `explain`: the query's text shows the term; else added."
    )
    spans: list[tuple[int, int]] | None = Field(
        default=None,
        description="With `explain`: where the query's text shows the term, `[start, end]` in "
        "Unicode code points.",
    )


class QueryBody(AnswerModel):
    """The query as it was searched for."""

    terms: list[TermWeight] = Field(description="Heaviest first.")


class ExplainedTerm(AnswerModel):
    """One term's share of a score."""

    token: str
    query_weight: float
    document_weight: float
    contribution: float = Field(description="`query_weight` times `document_weight`.")
    in_query: bool = Field(description="The query's text shows the term; else it was added.")
    in_document: bool | None = Field(
        description="The document's text shows the term; else it was added. Null where the index "
        "stores no texts."
    )


class HighlightBody(AnswerModel):
    """A piece of a document's field that belongs to a term of the query."""

    field: Literal["title", "text"]
    start: int = Field(description="Offset of the first character, in Unicode code points.")
    end: int = Field(description="Offset behind the last character.")
    token: str
    origin: bool = Field(
        description="This piece gave the document's term its weight, whether it shows the term or "
        "not (where positions were kept); else it shows the term."
    )


class DocumentBody(AnswerModel):
    """A stored document, or the requested fields of one."""

    doc_id: str
    title: str | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None


class PartBody(AnswerModel):
    """What one half of a hybrid search gave to a document."""

    rank: int | None = Field(
        description="Among the candidates of the half; null if it is not among them."
    )
    score: float | None = Field(description="The half's own; null if it is not known.")
    share: float = Field(description="Of the fused score.")


class HitPartsBody(AnswerModel):
    """What both halves gave; the shares sum to the score."""

    sparse: PartBody
    dense: PartBody


class HitBody(AnswerModel):
    """A result."""

    rank: int = Field(description="1 is the best.")
    doc_id: str
    score: float = Field(
        description="Inner product of query and document; the fused one of a hybrid search."
    )
    parts: HitPartsBody | None = Field(default=None, description="Of a hybrid search.")
    document: DocumentBody | None = Field(default=None, description="The requested fields.")
    highlights: list[HighlightBody] | None = None
    explanation: list[ExplainedTerm] | None = Field(
        default=None,
        description="Sums to the (sparse) score; largest contribution first.",
    )


class Took(AnswerModel):
    """Milliseconds by stage."""

    encode: float
    search: float
    fetch: float = Field(description="Documents, highlights and explanations.")


class ExactComparison(AnswerModel):
    """How the result compares with that of exhaustive search."""

    overlap: float = Field(description="Share of the exact top k that was found.")
    missed: list[str] = Field(description="The exact top k's documents that were not found.")
    took_ms: float = Field(description="Time of the exhaustive search.")


class SearchResponse(AnswerModel):
    """The answer to a search. There is no total count: an approximate search does not know it."""

    index: str
    query: QueryBody
    hits: list[HitBody]
    params: dict[str, Any] = Field(description="The search parameters that were used.")
    exact: ExactComparison | None = Field(default=None, description="With `compare_exact`.")
    took_ms: Took
    request_id: str


class BatchItem(AnswerModel):
    """The answer to one query of a batch."""

    hits: list[HitBody]


class BatchResponse(AnswerModel):
    """The answers, in the order of the queries."""

    index: str
    results: list[BatchItem]
    params: dict[str, Any]
    took_ms: Took
    request_id: str


class HybridExplanation(AnswerModel):
    """What both halves of a hybrid search give to a document, found or not."""

    rank: int | None = Field(description="In the fused result; null if not among the best k.")
    score: float = Field(description="Fused; 0 if neither half has it among its candidates.")
    parts: HitPartsBody


class ExplainResponse(AnswerModel):
    """Why a document has its score."""

    index: str
    doc_id: str
    score: float = Field(description="0 if query and document share no term.")
    terms: list[ExplainedTerm] = Field(description="Sums to the score; largest first.")
    missing: list[TermWeight] = Field(description="Terms of the query that the document lacks.")
    reason: str = Field(
        description="Why the document is, or is not, among the best k: a code.",
        examples=["found"],
    )
    message: str = Field(description="The same in a sentence, with the figures.")
    hybrid: HybridExplanation | None = Field(
        default=None, description="With `hybrid`; the rest tells of the sparse half."
    )
    request_id: str


class EncodedTerm(AnswerModel):
    """A term of an encoded text."""

    token: str
    weight: float
    spans: list[tuple[int, int]] = Field(
        description="Where the text shows it, as code-point offsets; none for an added term."
    )


class EncodeResponse(AnswerModel):
    """A text as the index's encoder sees it."""

    index: str
    encoder: str
    side: Literal["query", "document"]
    terms: list[EncodedTerm] = Field(description="Heaviest first.")
    took_ms: float
    request_id: str
