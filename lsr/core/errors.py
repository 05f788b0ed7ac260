"""The error tree: one root, a stable code and an exit status for every class.

::

    LsrError                          lsr_error
    ├── ConfigError (ValueError)      config_invalid        a setting or config file is wrong
    ├── ArgumentError (ValueError)    argument_invalid      an argument is outside its rule
    ├── DataError (ValueError)        data_invalid          input data breaks a rule
    │   ├── RecordError               record_invalid        one line of one file, numbered
    │   ├── DuplicateIdError          duplicate_id
    │   │   └── DuplicateRecordError (RecordError)          the same, with its line
    │   ├── WeightError               weight_invalid        NaN, infinite or negative weights
    │   │   └── WeightRecordError (RecordError)             the same, with its line
    │   ├── DatasetNotFoundError (LookupError)              dataset_not_found
    │   └── DownloadError             download_failed       no network, or not what was expected
    ├── EncoderError (RuntimeError)   encoder_failed
    │   ├── EncoderNotFoundError (LookupError)              encoder_not_found
    │   ├── ModelFormatError (ValueError)                   model_format_unsupported
    │   └── VocabularyMismatchError (ValueError)            vocabulary_mismatch
    ├── ArtifactError (RuntimeError)  artifact_failed       something written on disk
    │   ├── ArtifactNotFoundError (FileNotFoundError)       artifact_not_found
    │   ├── ArtifactExistsError (FileExistsError)           artifact_exists
    │   ├── ArtifactFormatError (ValueError)                artifact_format_unsupported
    │   ├── ArtifactCorruptedError                          artifact_corrupted
    │   ├── CollectionLockedError     collection_locked     another process writes to it
    │   └── StorageError (OSError)    storage_failed        the disk is full, or refuses
    ├── DocumentNotFoundError (LookupError)                 document_not_found
    ├── QueryError (ValueError)       query_invalid
    │   └── FilterError               filter_invalid        a metadata filter breaks its rules
    ├── ServiceError (RuntimeError)   service_failed
    │   ├── PortInUseError (OSError)  port_in_use
    │   ├── IndexNotFoundError (LookupError)                index_not_found
    │   ├── IndexExistsError          index_exists          the name is taken
    │   ├── IndexUnavailableError     index_unavailable     it is there, and cannot be opened
    │   ├── SnapshotNotFoundError (LookupError)             snapshot_not_found
    │   ├── SnapshotExistsError       snapshot_exists       the name is taken
    │   ├── TaskNotFoundError (LookupError)                 task_not_found
    │   ├── TaskNotCancellableError   task_not_cancellable  too late, or it cannot stop half way
    │   ├── RequestError (ValueError) request_invalid       a request breaks the API's rules
    │   ├── BodyTooLargeError         body_too_large
    │   ├── AuthenticationError       key_missing           no key, or an unknown one
    │   ├── ForbiddenError            role_missing          the key lacks the role
    │   ├── OverloadedError           overloaded            the queues are full: try again later
    │   │   ├── BackPressureError     write_queue_full      writes come faster than they are done
    │   │   ├── RateLimitedError      rate_limited          a caller asks too often
    │   │   └── WriterUnavailableError                      writer_unavailable
    │   └── NotReadyError             not_ready             starting, or shutting down
    ├── TrainingError (RuntimeError)  training_failed
    ├── ExternalToolError (RuntimeError)                external_tool_failed
    ├── CheckFailedError              check_failed          a verification said no
    └── MissingDependencyError (ImportError)                dependency_missing

``code`` is stable: the command line prints it, the HTTP API returns it, programs may test it.
``exit_status`` is what the command line leaves with: 1 a check failed, 2 wrong use or config,
3 missing or unusable data.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar

__all__ = [
    "ArgumentError",
    "ArtifactCorruptedError",
    "ArtifactError",
    "ArtifactExistsError",
    "ArtifactFormatError",
    "ArtifactNotFoundError",
    "AuthenticationError",
    "BackPressureError",
    "BodyTooLargeError",
    "CheckFailedError",
    "CollectionLockedError",
    "ConfigError",
    "DataError",
    "DatasetNotFoundError",
    "DocumentNotFoundError",
    "DownloadError",
    "DuplicateIdError",
    "DuplicateRecordError",
    "EncoderError",
    "EncoderNotFoundError",
    "ExternalToolError",
    "FilterError",
    "ForbiddenError",
    "IndexExistsError",
    "IndexNotFoundError",
    "IndexUnavailableError",
    "LsrError",
    "MissingDependencyError",
    "ModelFormatError",
    "NotReadyError",
    "OverloadedError",
    "PortInUseError",
    "QueryError",
    "RateLimitedError",
    "RecordError",
    "RequestError",
    "ServiceError",
    "SnapshotExistsError",
    "SnapshotNotFoundError",
    "StorageError",
    "TaskNotCancellableError",
    "TaskNotFoundError",
    "TrainingError",
    "VocabularyMismatchError",
    "WeightError",
    "WeightRecordError",
    "WriterUnavailableError",
    "near_names",
]


def near_names(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'a' or 'b'?`` for the nearest known names, or an empty string."""
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


class LsrError(Exception):
    """Root of every error this system raises on purpose.

    Parameters
    ----------
    message : str
        The argument, the rule and the value seen.
    hint : str, optional
        The next step for whoever reads the message.
    """

    code: ClassVar[str] = "lsr_error"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send errors back by pickle; keyword-only arguments need this.
        return (_rebuild, (type(self), self.message, self.hint, self.__dict__))


def _rebuild(cls: type[LsrError], message: str, hint: str, state: dict[str, object]) -> LsrError:
    # Not cls.__new__: by method order that may be RuntimeError's where the memory layout is
    # OSError's, which Python refuses. The layout is that of the first base not written in Python.
    layout: Any = cls
    while layout.__module__ != "builtins":
        layout = layout.__base__
    error: LsrError = layout.__new__(cls)
    LsrError.__init__(error, message, hint=hint)
    error.__dict__.update(state)
    return error


class ConfigError(LsrError, ValueError):
    """A config file, an override or a setting is wrong; lists every problem found."""

    code = "config_invalid"
    exit_status = 2


class ArgumentError(LsrError, ValueError):
    """An argument is outside its rule."""

    code = "argument_invalid"
    exit_status = 2


class DataError(LsrError, ValueError):
    """Input data breaks a rule."""

    code = "data_invalid"
    exit_status = 3


class RecordError(DataError):
    """One record of one file cannot be used.

    Parameters
    ----------
    message : str
        What is wrong with the record.
    path : str
        The file, as the user named it.
    line : int
        1-based line number.
    hint : str, optional
        The next step.
    """

    code = "record_invalid"

    def __init__(self, message: str, *, path: str, line: int, hint: str = "") -> None:
        super().__init__(f"{path}, line {line}: {message}", hint=hint)
        self.path = path
        self.line = line
        self.reason = message


class DuplicateIdError(DataError):
    """The same identifier stands twice where it must be unique."""

    code = "duplicate_id"


class WeightError(DataError):
    """Weights that are not finite, or not positive where they must be."""

    code = "weight_invalid"


class DuplicateRecordError(RecordError, DuplicateIdError):
    """One record of one file repeats an identifier."""

    code = "duplicate_id"


class WeightRecordError(RecordError, WeightError):
    """One record of one file has a weight that is not finite, or not positive."""

    code = "weight_invalid"


class DatasetNotFoundError(DataError, LookupError):
    """No dataset of this name or at this path."""

    code = "dataset_not_found"


class DownloadError(DataError):
    """A file could not be fetched, or its checksum differs from the known one."""

    code = "download_failed"


class EncoderError(LsrError, RuntimeError):
    """An encoder could not do its work."""

    code = "encoder_failed"
    exit_status = 3


class EncoderNotFoundError(EncoderError, LookupError):
    """No encoder of this name or at this path."""

    code = "encoder_not_found"


class ModelFormatError(EncoderError, ValueError):
    """A model folder of a kind that cannot be loaded."""

    code = "model_format_unsupported"


class VocabularyMismatchError(EncoderError, ValueError):
    """Two artefacts were made with different vocabularies."""

    code = "vocabulary_mismatch"


class ArtifactError(LsrError, RuntimeError):
    """Something this system writes on disk is at fault."""

    code = "artifact_failed"
    exit_status = 3


class ArtifactNotFoundError(ArtifactError, FileNotFoundError):
    """Nothing of the expected kind at this path."""

    code = "artifact_not_found"


class ArtifactExistsError(ArtifactError, FileExistsError):
    """The target path is taken and overwriting was not asked for."""

    code = "artifact_exists"
    exit_status = 2


class ArtifactFormatError(ArtifactError, ValueError):
    """A format or format version this release does not read."""

    code = "artifact_format_unsupported"


class ArtifactCorruptedError(ArtifactError):
    """A file is missing, truncated, or its checksum differs."""

    code = "artifact_corrupted"


class StorageError(ArtifactError, OSError):
    """The file system refused a write: full disk, permissions, quota."""

    code = "storage_failed"


class CollectionLockedError(ArtifactError):
    """Another process has the collection open for writing."""

    code = "collection_locked"


class DocumentNotFoundError(LsrError, LookupError):
    """No document with this identifier."""

    code = "document_not_found"
    exit_status = 3


class QueryError(LsrError, ValueError):
    """A query that cannot be searched for."""

    code = "query_invalid"
    exit_status = 2


class FilterError(QueryError):
    """A metadata filter breaks the rules of its language, or names an unknown field."""

    code = "filter_invalid"


class ServiceError(LsrError, RuntimeError):
    """The HTTP service cannot start or go on."""

    code = "service_failed"


class PortInUseError(ServiceError, OSError):
    """Another process listens on the port."""

    code = "port_in_use"
    exit_status = 2


class IndexNotFoundError(ServiceError, LookupError):
    """The service has no index of this name."""

    code = "index_not_found"


class IndexExistsError(ServiceError):
    """The service has an index of this name already."""

    code = "index_exists"
    exit_status = 2


class IndexUnavailableError(ServiceError):
    """An index is there, but damaged or locked, so that it could not be opened."""

    code = "index_unavailable"


class SnapshotNotFoundError(ServiceError, LookupError):
    """The service has no snapshot of this name."""

    code = "snapshot_not_found"


class SnapshotExistsError(ServiceError):
    """The collection has a snapshot of this name already."""

    code = "snapshot_exists"
    exit_status = 2


class TaskNotFoundError(ServiceError, LookupError):
    """The service knows no task of this identifier, or has forgotten it."""

    code = "task_not_found"


class TaskNotCancellableError(ServiceError):
    """The task has ended, or is past the point where it can stop."""

    code = "task_not_cancellable"


class RequestError(ServiceError, ValueError):
    """A request breaks the rules of the API; lists every problem found."""

    code = "request_invalid"
    exit_status = 2


class BodyTooLargeError(ServiceError):
    """A request body is larger than the service takes."""

    code = "body_too_large"


class AuthenticationError(ServiceError):
    """A request came without an API key, or with one that is not known."""

    code = "key_missing"


class ForbiddenError(ServiceError):
    """The API key of a request lacks the role that the route needs."""

    code = "role_missing"


class OverloadedError(ServiceError):
    """Too many requests wait already; `retry_after_s` says when to come again."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: int = 1, hint: str = "") -> None:
        super().__init__(message, hint=hint or f"Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class BackPressureError(OverloadedError):
    """Writes come faster than they are done."""

    code = "write_queue_full"


class RateLimitedError(OverloadedError):
    """A caller asks more often than the service's limit allows."""

    code = "rate_limited"


class WriterUnavailableError(OverloadedError):
    """The process that writes is being started again."""

    code = "writer_unavailable"


class NotReadyError(ServiceError):
    """The service is starting or shutting down."""

    code = "not_ready"


class TrainingError(LsrError, RuntimeError):
    """Training cannot go on: collapse, a diverged loss, an unusable checkpoint."""

    code = "training_failed"


class ExternalToolError(LsrError, RuntimeError):
    """A program outside this system (Java, Lucene) failed; the message ends with its last words."""

    code = "external_tool_failed"


class CheckFailedError(LsrError):
    """A verification ran to its end and said no."""

    code = "check_failed"


class MissingDependencyError(LsrError, ImportError):
    """An optional package is not installed.

    Parameters
    ----------
    package : str
        The import name that is missing.
    extra : str
        The extra of ``lsr-search`` that brings it.
    purpose : str
        What it is needed for.
    """

    code = "dependency_missing"
    exit_status = 2

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed.",
            hint=f"Install it with: pip install 'lsr-search[{extra}]'",
        )
        self.package = package
