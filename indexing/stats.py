"""What an index is made of: counts, bytes by part, origin."""

from __future__ import annotations

from typing import Any

from indexing.storage import IndexFolder

__all__ = ["index_info"]


def index_info(folder: IndexFolder) -> dict[str, Any]:
    """Return the description that ``lsr index info`` prints.

    ``bytes`` are those of the index's arrays by part, ``files_bytes`` of the whole folder.
    """
    manifest = folder.manifest
    details = manifest.details
    n_documents = folder.n_documents
    by_part = folder.index.bytes_by_part()
    return {
        "path": str(folder.path),
        "layout": folder.layout,
        "n_documents": n_documents,
        "nnz": details["nnz"],
        "terms_per_document": details["nnz"] / n_documents if n_documents else 0.0,
        "vocabulary_size": details["vocabulary_size"],
        "vocabulary_fingerprint": details["vocabulary_fingerprint"],
        "encoder": details["encoder"],
        "idf": details["idf"],
        "has_query_encoder": folder.query_encoder_path is not None,
        "has_documents": details["has_documents"],
        "fields": folder.fields,
        "bytes": by_part,
        "index_bytes": sum(by_part.values()),
        "files_bytes": sum(entry.bytes for entry in manifest.files.values()),
        "build_s": details["build_s"],
        "config": manifest.config,
        "created": manifest.created,
        "lsr_version": manifest.lsr_version,
    }
