"""What the API takes and gives; the OpenAPI document is made from these models.

Requests forbid unknown keys and bound every list and text, so that a typing mistake is an error
and no request is unbounded. Answers leave out what was not asked for.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from indexing.dense_flat import MAX_DENSE_WIDTH

__all__ = [
    "MAX_QUERY_TERMS",
    "MAX_TEXT_CHARS",
    "NOT_BLANK",
    "QUERY_EXAMPLE",
    "AnswerModel",
    "DenseVector",
    "ErrorBody",
    "ErrorDetail",
    "FilterJson",
    "HealthBody",
    "IndexInfo",
    "IndexList",
    "ParameterInfo",
    "QueryTerms",
    "QueryText",
    "RequestModel",
    "TermText",
    "UnavailableIndex",
    "Weight",
]

MAX_QUERY_CHARS = 10_000
MAX_QUERY_TERMS = 4_096
MAX_TEXT_CHARS = 200_000

TermText: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Weight: TypeAlias = Annotated[
    # The upper bound keeps every score finite in float32.
    float, Field(gt=0, le=1e6, allow_inf_nan=False, examples=[1.5])
]
# Blank queries are the engine's to refuse, with a better message than a pattern's; the document
# states the rule all the same.
NOT_BLANK: dict[str, JsonValue] = {"minLength": 1, "pattern": r"\S"}
QueryText: TypeAlias = Annotated[
    str,
    Field(
        max_length=MAX_QUERY_CHARS,
        description="Text, encoded by the index's encoder.",
        json_schema_extra=NOT_BLANK,
    ),
]
QueryTerms: TypeAlias = Annotated[
    dict[TermText, Weight],
    Field(
        max_length=MAX_QUERY_TERMS,
        description="Weights by token of the index's vocabulary.",
        json_schema_extra={"minProperties": 1},
    ),
]
FilterJson: TypeAlias = Annotated[
    dict[str, Any] | None,
    Field(
        max_length=1,
        description="Only documents whose metadata pass. `equals`, `in`, "
        "`range`, `exists`, `and`, `or`, `not`.",
        examples=[{"range": {"year": {"gte": 1990}}}],
    ),
]

DenseVector: TypeAlias = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Field(min_length=1, max_length=MAX_DENSE_WIDTH),
]
"""Numbers for the dense half; their count is the index's `dense_width`."""

QUERY_EXAMPLE = "Which network was the Super Bowl shown on?"


class RequestModel(BaseModel):
    """Base of what the API takes: unknown keys forbidden, no value bent into another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AnswerModel(BaseModel):
    """Base of what the API gives."""

    model_config = ConfigDict(frozen=True)


class ParameterInfo(AnswerModel):
    """A search parameter of an index's layout."""

    name: str
    type: Literal["integer", "number", "boolean", "string"]
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    description: str = ""


class IndexInfo(AnswerModel):
    """An index that is served."""

    name: str
    layout: str
    n_documents: int
    vocabulary_size: int
    encoder: str | None = Field(description="What encodes text; null: send terms and weights.")
    has_documents: bool = Field(description="Whether the index stores the documents' text.")
    encodes_documents: bool
    dense: str | None = Field(
        description="The bi-encoder of the dense half, which encodes texts for hybrid searches."
    )
    dense_width: int | None = Field(
        description="Numbers in a dense vector; null: no dense half, so no hybrid search."
    )
    updatable: bool = Field(description="Whether documents can be written and deleted.")
    fields: dict[str, str] = Field(description="Metadata fields that filters may name, by type.")
    parameters: list[ParameterInfo]
    examples: list[str] = Field(description="Queries to try.")
    bytes: int = Field(description="Size of the index's arrays.")
    created: str


class UnavailableIndex(AnswerModel):
    """A collection of the data folder that could not be opened."""

    name: str
    code: str
    message: str


class IndexList(AnswerModel):
    """All indexes of the service."""

    indexes: list[IndexInfo]
    unavailable: list[UnavailableIndex] = Field(
        default_factory=list, description="Damaged or locked ones."
    )


class HealthBody(AnswerModel):
    """State of the service."""

    status: Literal["ok"]
    version: str


class ErrorDetail(AnswerModel):
    """What went wrong and what to do."""

    code: str = Field(description="Stable; programs may test it.", examples=["index_not_found"])
    message: str = Field(examples=["No index is called 'wiky'. Did you mean 'wiki'?"])
    hint: str = Field(examples=["GET /v1/indexes lists the indexes."])
    request_id: str


class ErrorBody(AnswerModel):
    """The one shape of every error."""

    error: ErrorDetail
