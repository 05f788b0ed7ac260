"""What the API takes and gives where indexes are made, copied, kept and deleted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from indexing.dense_flat import MAX_DENSE_WIDTH
from indexing.filters_fields import FieldType
from serving.data_folder import NAME_PATTERN
from serving.schemas import (
    QUERY_EXAMPLE,
    AnswerModel,
    QueryTerms,
    QueryText,
    RequestModel,
    TermText,
)
from serving.tasks import TaskState

__all__ = [
    "CreateRequest",
    "DeletedResponse",
    "EncoderList",
    "IndexStats",
    "RestoreRequest",
    "SegmentStats",
    "SnapshotInfo",
    "SnapshotList",
    "SnapshotRequest",
    "TaskBody",
    "TaskError",
    "TaskList",
    "TuneRequest",
    "TunedTarget",
    "TuningStats",
    "WriteStats",
]

MAX_TERMS = 1_000_000
NewName = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="1 to 64 letters, digits, '.', '_' or '-'; begins with a letter or a digit.",
        examples=["news"],
    ),
]


class CreateRequest(RequestModel):
    """A new, empty collection: with an encoder, or for vectors that are made elsewhere."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "news", "encoder": "splade-tiny", "fields": {"day": "date"}},
                {"name": "both", "encoder": "splade-tiny", "dense": "all-MiniLM-L6-v2"},
                {"name": "vectors", "vocabulary": ["super", "bowl"], "dense_width": 384},
                {
                    "name": "numbers",
                    "vocabulary": 30522,
                    "config": {"index": {"layout": {"kind": "clustered"}}, "seal_at": 20000},
                },
            ]
        }
    )

    name: NewName
    encoder: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="Encodes queries and documents; one of GET /v1/encoders.",
    )
    vocabulary: (
        Annotated[list[TermText], Field(min_length=1, max_length=MAX_TERMS)]
        | Annotated[int, Field(ge=1, le=MAX_TERMS)]
        | None
    ) = Field(
        default=None,
        description="In place of an encoder: the tokens that vectors may name, or how many there "
        "are, which are then called '0', '1', '2' …",
    )
    dense: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="A bi-encoder for hybrid search, copied into the collection: one of "
        "`dense_encoders` of GET /v1/encoders.",
    )
    dense_width: int | None = Field(
        default=None,
        ge=1,
        le=MAX_DENSE_WIDTH,
        description="In place of `dense`: numbers in the `dense_vector` of every document, where "
        "these are made elsewhere.",
    )
    fields: dict[Annotated[str, Field(min_length=1, max_length=256)], FieldType] = Field(
        default_factory=dict,
        max_length=1000,
        description="Types of metadata fields; others take the type of their first value.",
        examples=[{"day": "date", "lang": "string"}],
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        max_length=32,
        description="How the collection is built and kept: `index.layout`, `seal_at`, "
        "`merge_factor`, `exact_below`, `max_dead_share`, `bulk_rows`.",
        examples=[{"index": {"layout": {"kind": "clustered"}}}],
    )

    @model_validator(mode="after")
    def _one_source(self) -> CreateRequest:
        if (self.encoder is None) == (self.vocabulary is None):
            raise ValueError("give either encoder or vocabulary")
        if self.dense is not None and self.dense_width is not None:
            raise ValueError("give either dense or dense_width: the bi-encoder tells its width")
        return self


class SnapshotRequest(RequestModel):
    """A copy to take."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"name": "before-import"}]})

    name: NewName | None = Field(default=None, description="By default the time.")


class RestoreRequest(RequestModel):
    """Where a copy is to be restored to."""

    name: NewName = Field(description="Of the new collection; must be free.")


class TuneRequest(RequestModel):
    """A recall to reach, and queries to measure it with: like those that will be asked."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"queries": [f"{QUERY_EXAMPLE} ({n})" for n in range(20)], "recall": 0.95}]
        }
    )

    queries: list[QueryText | QueryTerms] = Field(
        min_length=20,
        max_length=10_000,
        description="Half of them choose the parameters, the other half measure what they reach.",
    )
    recall: float = Field(
        default=0.95, gt=0, le=1, description="Of the exact top k, on the held-out half."
    )
    k: int = Field(default=10, ge=1, le=1000)
    p99_ms: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="The slowest percentile allowed."
    )


class TunedTarget(AnswerModel):
    """The fastest search parameters that were measured to reach a recall."""

    target: float
    recall: float = Field(description="Measured on held-out queries, against exact search.")
    params: dict[str, Any]
    mean_us: float = Field(description="Of one search on one thread.")
    p99_us: float
    n_documents: int | None = Field(description="Of the collection then; null for an index.")


class TuningStats(AnswerModel):
    """What the latest tuning measured."""

    k: int
    n_held_out: int
    created: str
    targets: list[TunedTarget]


class DeletedResponse(AnswerModel):
    """What was deleted."""

    deleted: str
    request_id: str


class EncoderList(AnswerModel):
    """The encoders that collections can be made with."""

    encoders: list[str]
    dense_encoders: list[str] = Field(description="For the dense half (`dense`).")


class SegmentStats(AnswerModel):
    """A sealed segment of a collection."""

    name: str
    layout: str
    n_rows: int
    n_alive: int
    bytes: int


class WriteStats(AnswerModel):
    """The writing side of a collection."""

    generation: int = Field(description="Writes that the collection has seen.")
    head_documents: int = Field(description="Documents not sealed yet, searched exactly.")
    segments: list[SegmentStats]
    store_bytes: int
    log_bytes: int
    trouble: str | None = Field(description="Why maintenance does not get on, if it does not.")
    pending_writes: int = Field(description="Writes that run or wait.")
    pending_documents: int = Field(
        description="Documents of background imports: durable, not in the collection yet."
    )
    inbox_bytes: int


class IndexStats(AnswerModel):
    """Counts and sizes of an index."""

    name: str
    layout: str
    n_documents: int
    bytes: dict[str, int] = Field(description="Of the index's arrays, by part.")
    tuning: TuningStats | None = Field(description="Null where nothing was measured.")
    collection: WriteStats | None = Field(description="Null for an index that does not change.")


class SnapshotInfo(AnswerModel):
    """A copy of a collection."""

    name: str
    created: str
    n_documents: int
    generation: int
    bytes: int


class SnapshotList(AnswerModel):
    """The copies of a collection, which itself need not be there any more."""

    snapshots: list[SnapshotInfo]


class TaskError(AnswerModel):
    """Why a task failed."""

    code: str
    message: str
    hint: str


class TaskBody(AnswerModel):
    """Work that goes on after the request that began it."""

    id: str
    kind: Literal["import", "merge", "restore", "snapshot", "tune"]
    index: str
    state: TaskState
    done: int = Field(description="So many units are done.")
    total: int | None = Field(description="Of so many; null where that is not known.")
    unit: str
    cancellable: bool
    trouble: str = Field(description="Why it does not get on at the moment; it is tried again.")
    error: TaskError | None
    result: dict[str, Any] = Field(description="What it gave, once it has succeeded.")
    created: str
    started: str = Field(description="Empty before.")
    ended: str = Field(description="Empty before.")


class TaskList(AnswerModel):
    """The tasks that the service remembers, newest first."""

    tasks: list[TaskBody]
