"""Results: what one system scored on one collection, and what it cost.

A figure without its origin is not quoted, so results carry a manifest (commit, versions,
machine, configuration) and the command that made them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eval.latency import Latency, Throughput
from eval.memory import Memory
from eval.sparsity import Sparsity
from lsr.core.artifact import write_text_atomic
from lsr.core.errors import ArtifactCorruptedError, ArtifactFormatError, ArtifactNotFoundError
from lsr.core.manifest import Manifest

__all__ = ["RESULTS_FORMAT", "Efficiency", "Results", "Truncation", "load_results"]

RESULTS_FORMAT = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Truncation(_Frozen):
    """Longest text an encoder reads, in its own tokens; None: it reads all."""

    query_tokens: int | None = None
    document_tokens: int | None = None


class Efficiency(_Frozen):
    """What a system costs; None: not measured.

    Attributes
    ----------
    search, encode_query : Latency
        One thread, one query, apart from each other.
    throughput : Throughput
        All threads, one batch, query vectors given.
    recall_at_10 : float
        Against exact search of the same vectors, or the layout's own exact mode.
    index_bytes : dict
        By part.
    build_s, encode_documents_per_s : float
        Building the index; encoding the collection.
    peak_memory : Memory
        While searching, anonymous and file-backed apart.
    """

    sparsity: Sparsity | None = None
    search: Latency | None = None
    encode_query: Latency | None = None
    throughput: Throughput | None = None
    recall_at_10: float | None = None
    index_bytes: dict[str, int] | None = None
    build_s: float | None = None
    encode_documents_per_s: float | None = None
    peak_memory: Memory | None = None

    @property
    def total_index_bytes(self) -> int | None:
        """Bytes of all parts of the index."""
        return None if self.index_bytes is None else sum(self.index_bytes.values())


class Results(_Frozen):
    """Scores of one system on one split of one collection.

    Attributes
    ----------
    measures : dict
        Mean over all judged queries; a judged query without results counts 0.
    per_query : dict
        Measure to query id to value, for the same queries.
    n_queries, n_unanswered : int
        Judged queries, and those of them for which the system returned nothing.
    k : int
        Depth of the search; a measure with a deeper cutoff sees no more than this.
    notes : tuple of str
        What was done that a reader must know: self-matches dropped, a reduced collection …
    """

    system: str
    dataset: str
    split: str
    measures: dict[str, float]
    n_queries: int
    n_unanswered: int
    k: int
    per_query: dict[str, dict[str, float]]
    efficiency: Efficiency = Field(default_factory=Efficiency)
    truncation: Truncation = Field(default_factory=Truncation)
    notes: tuple[str, ...] = ()
    command: str = ""
    manifest: Manifest

    @property
    def label(self) -> str:
        """``dataset/split``, without the split where it is the usual one."""
        return self.dataset if self.split == "test" else f"{self.dataset}/{self.split}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data, as `save` writes it."""
        data: dict[str, Any] = self.model_dump(mode="json")
        return data

    def save(self, path: Path) -> None:
        """Write one JSON file."""
        write_text_atomic(
            Path(path), json.dumps(self.to_json(), ensure_ascii=False, indent=1) + "\n"
        )


def load_results(path: Path) -> Results:
    """Return the results that `Results.save` wrote.

    Raises
    ------
    ArtifactNotFoundError
        If there is no such file.
    ArtifactFormatError
        If it is JSON of another kind or version.
    ArtifactCorruptedError
        If it is not JSON.
    """
    path = Path(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ArtifactNotFoundError(
            f"No results at {path}.", hint="Make them with `lsr eval run … --out FILE`."
        ) from None
    except ValueError as error:
        raise ArtifactCorruptedError(f"{path} is not JSON: {error}.") from error
    manifest = raw.get("manifest") if isinstance(raw, dict) else None
    seen = (manifest or {}).get("kind"), (manifest or {}).get("format_version")
    if seen != ("results", RESULTS_FORMAT):
        raise ArtifactFormatError(
            f"{path} holds {seen[0]!r} format {seen[1]!r}; expected 'results' {RESULTS_FORMAT}.",
            hint="Pass files written by `lsr eval run … --out FILE` of this release.",
        )
    try:
        return Results.model_validate(raw)
    except ValidationError as error:
        raise ArtifactCorruptedError(f"{path} does not hold results: {error}") from error
