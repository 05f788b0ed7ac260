"""What the API takes and gives where documents are written and deleted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from lsr.core.records import Document
from serving.schemas import (
    MAX_QUERY_TERMS,
    MAX_TEXT_CHARS,
    AnswerModel,
    DenseVector,
    FilterJson,
    RequestModel,
    TermText,
    Weight,
)

__all__ = [
    "DeleteRequest",
    "DeleteResponse",
    "DocumentIn",
    "ImportResponse",
    "LineProblemBody",
    "UpsertRequest",
    "UpsertResponse",
]


def _either_id(schema: dict[str, Any]) -> None:
    """Say in a schema that a document is named by `doc_id` or by `_id`."""
    schema["properties"]["_id"] = schema["properties"]["doc_id"] | {
        "title": "Id",
        "description": "Another name of `doc_id`, as BEIR's `corpus.jsonl` has it.",
    }
    schema["required"].remove("doc_id")
    schema["anyOf"] = [{"required": ["doc_id"]}, {"required": ["_id"]}]


class DocumentIn(RequestModel):
    """A document to write, named by `doc_id` or by `_id`; by both only if they are the same."""

    model_config = ConfigDict(json_schema_extra=_either_id)

    doc_id: str = Field(min_length=1, max_length=1024, pattern=r"^[^\x00\n]*$")
    text: str = Field(default="", max_length=MAX_TEXT_CHARS)
    title: str = Field(default="", max_length=10_000)
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        max_length=1000,
        description="Strings, numbers, booleans, dates and lists can be filtered by.",
    )
    vector: dict[TermText, Weight] | None = Field(
        default=None,
        max_length=MAX_QUERY_TERMS,
        description="Weights by token; the collection's encoder makes them otherwise.",
        json_schema_extra={"minProperties": 1},
    )
    dense_vector: DenseVector | None = Field(
        default=None,
        description="For the dense half, where the collection has one; its bi-encoder makes it "
        "otherwise.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_doc_id(cls, body: Any) -> Any:
        if not isinstance(body, dict) or "_id" not in body:
            return body
        named = dict(body)
        name = named.pop("_id")
        if named.setdefault("doc_id", name) != name:
            raise ValueError("doc_id and _id are two names of one field, and differ here.")
        return named

    def record(self) -> Document:
        """Return the document without its vector."""
        return Document(self.doc_id, self.text, self.title, self.metadata)


class UpsertRequest(RequestModel):
    """Documents to add, or to put in the place of those with the same identifiers."""

    documents: list[DocumentIn] = Field(
        min_length=1,
        max_length=10_000,
        examples=[[{"doc_id": "n1", "title": "News", "text": "…", "metadata": {"year": 2026}}]],
    )


class DeleteRequest(RequestModel):
    """Documents to delete: by identifier, or all that pass a filter."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"doc_ids": ["n1", "n2"]}, {"filter": {"range": {"year": {"lt": 2000}}}}]
        }
    )

    doc_ids: list[Annotated[str, Field(min_length=1, max_length=1024)]] | None = Field(
        default=None, min_length=1, max_length=100_000
    )
    filter: FilterJson = None


class UpsertResponse(AnswerModel):
    """What a write did; it is durable and searchable when this answer comes."""

    n_added: int
    n_replaced: int
    request_id: str


class DeleteResponse(AnswerModel):
    """What a deletion did."""

    n_deleted: int = Field(description="Those that were there.")
    request_id: str


class LineProblemBody(AnswerModel):
    """A line of an import that was not written."""

    line: int = Field(description="1 is the first.")
    message: str


class ImportResponse(AnswerModel):
    """What an import did; the lines that are not listed as problems are durable."""

    n_added: int
    n_replaced: int
    n_failed: int
    problems: list[LineProblemBody] = Field(description="The first thousand.")
    request_id: str
