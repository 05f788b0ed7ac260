"""An index folder: all that a search needs, in one place, opened in milliseconds.

::

    manifest.json     kind "index", layout, vocabulary fingerprint, parameters, checksums
    *.npy             the layout's arrays, memory-mapped
    ids.*.npy         document ids by row (`lsr.core.strings.StringTable`)
    vocabulary.json
    query_encoder/    the query side of the encoder, where the vectors came with one
    documents.sqlite  the documents, where a corpus was given
    fields.*.npy      their metadata by value, for filters (`indexing.folder_filter`)
    tuning.json       measured search parameters, written later by ``lsr index tune``

The folder is immutable but for ``tuning.json``, which the manifest does not list.
"""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from indexing.base import SearchResult, SparseIndex
from indexing.store import DOCUMENTS_NAME, DocumentStore
from lsr.core.artifact import check_artifact, read_manifest, verify_artifact
from lsr.core.config import Config
from lsr.core.errors import ArgumentError, ArtifactFormatError
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseVector, UInt64Array
from lsr.core.strings import StringTable
from lsr.core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from indexing.folder_filter import FolderFilter
    from indexing.tuning import Tuning

__all__ = ["INDEX_FORMAT", "QUERY_ENCODER_FOLDER", "IndexFolder", "layout_class", "load_index"]

INDEX_FORMAT = 1
QUERY_ENCODER_FOLDER = "query_encoder"

# Imported on use: a layout's kernels take time to load from the compiler's cache.
_LAYOUTS = {
    "clustered": ("indexing.clustered", "ClusteredIndex"),
    "exact": ("indexing.exact", "ExactIndex"),
    "seismic": ("indexing.seismic", "SeismicIndex"),
}


def layout_class(kind: str) -> Any:
    """Return the index class of a layout.

    Raises
    ------
    ArtifactFormatError
        If this release does not know the layout.
    """
    try:
        module, name = _LAYOUTS[kind]
    except KeyError:
        raise ArtifactFormatError(
            f"This release knows no index layout {kind!r}, only {', '.join(sorted(_LAYOUTS))}.",
            hint="Use the release that wrote the index, or build it again.",
        ) from None
    return getattr(import_module(module), name)


class IndexFolder:
    """An index on disk with its ids, vocabulary, query encoder and documents.

    Parts are opened on first use. Close it, or use it as a context manager, to close the
    document store.

    Attributes
    ----------
    path : Path
    manifest : Manifest
        ``details`` holds ``layout``, ``n_documents``, ``nnz``, ``vocabulary_size``,
        ``vocabulary_fingerprint``, ``idf``, ``encoder``, ``has_documents``.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._documents: DocumentStore | None = None

    @classmethod
    def open(cls, path: Path) -> IndexFolder:
        """Return the index folder at `path`; reads the manifest and checks every file's size.

        Raises
        ------
        ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
            If it is not there, not of this format, or damaged.
        """
        path = Path(path)
        manifest = read_manifest(path, kind="index", format_version=INDEX_FORMAT)
        check_artifact(path, manifest)
        layout_class(manifest.details["layout"])
        return cls(path, manifest)

    @property
    def layout(self) -> str:
        """The layout's kind."""
        return str(self.manifest.details["layout"])

    @property
    def n_documents(self) -> int:
        """Number of rows."""
        return int(self.manifest.details["n_documents"])

    @cached_property
    def index(self) -> SparseIndex:
        """The index, memory-mapped."""
        return cast(SparseIndex, layout_class(self.layout).open(self.path, self.manifest))

    @property
    def tuning(self) -> Tuning | None:
        """What ``lsr index tune`` measured, or None; read anew each time, it may change."""
        from indexing.tuning import load_tuning  # a search without a target does not need it

        return load_tuning(self.path, layout=self.layout)

    def params_for(self, target_recall: float) -> Config:
        """Return the fastest tuned search parameters for a recall.

        Raises
        ------
        ArgumentError
            If the index has not been tuned for it.
        """
        tuning = self.tuning
        model = self.index.params_model
        if tuning is None or model is None:
            raise ArgumentError(
                f"The index {self.path} is not tuned.",
                hint=f"Run: lsr index tune {self.path} --queries VECTORS --recall {target_recall}",
            )
        return model(**tuning.for_recall(target_recall).params)

    def preset(self, name: str) -> Config:
        """Return the search parameters of a preset (``"recall-95"``) for this layout.

        Chosen on another collection, so the recall is a guess here; `params_for` is measured.

        Raises
        ------
        ConfigError
            If there is no such preset for the layout.
        """
        from indexing.presets import load_preset

        return load_preset(name, self.layout)

    def search(
        self,
        query: SparseVector,
        k: int = 10,
        *,
        target_recall: float | None = None,
        params: Config | None = None,
        allowed: UInt64Array | None = None,
        filter: Any | None = None,
    ) -> SearchResult:
        """Return the best `k` rows, searched with `params` or those tuned for `target_recall`.

        Of those in the bitmap `allowed`, or of those whose documents pass `filter`
        (`indexing.filters_language`).

        Raises
        ------
        ArgumentError
            If both of a pair are given, or the index has not been tuned for the recall, or keeps
            nothing to filter by.
        FilterError
            If the filter breaks the language's rules, or names an unknown field.
        """
        if target_recall is not None:
            if params is not None:
                raise ArgumentError("Give target_recall or params, not both.")
            params = self.params_for(target_recall)
        if filter is not None:
            if allowed is not None:
                raise ArgumentError("Give allowed or filter, not both.")
            return self.filters.search(self.index, query, k, params, filter)
        return self.index.search(query, k, params=params, allowed=allowed)

    @property
    def fields(self) -> dict[str, str]:
        """Types of the metadata fields that filters may name."""
        kept = self.manifest.details.get("fields")
        return dict(kept["types"]) if kept is not None else {}

    @cached_property
    def filters(self) -> FolderFilter:
        """The filters on its documents' metadata.

        Raises
        ------
        ArgumentError
            If there are none: the index stores no documents, or was built by an older release.
        """
        from indexing.filters_columns import Columns
        from indexing.folder_filter import FolderFilter

        kept = self.manifest.details.get("fields")
        if kept is None:
            raise ArgumentError(
                f"The index {self.path.name!r} keeps no metadata to filter by.",
                hint="Build it again with --corpus; or make a live collection: lsr index create.",
            )
        return FolderFilter(Columns.open(self.path, self.manifest, kept), kept["types"])

    @cached_property
    def doc_ids(self) -> StringTable:
        """Document ids by row."""
        return StringTable.open(self.path, "ids", self.manifest)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the vectors."""
        return Vocabulary.load(self.path / "vocabulary.json")

    @property
    def query_encoder_path(self) -> Path | None:
        """Folder of the query side, or None where the vectors came without one."""
        path = self.path / QUERY_ENCODER_FOLDER
        return path if path.is_dir() else None

    @property
    def documents(self) -> DocumentStore | None:
        """The documents, or None where the index was built without a corpus."""
        if self._documents is None and self.manifest.details["has_documents"]:
            self._documents = DocumentStore(self.path / DOCUMENTS_NAME, self.doc_ids)
        return self._documents

    def verify(self) -> list[str]:
        """Read every file; return one line for each that is missing or differs."""
        return verify_artifact(self.path, self.manifest)

    def close(self) -> None:
        """Close the document store."""
        if self._documents is not None:
            self._documents.close()
            self._documents = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def load_index(path: Path) -> IndexFolder:
    """Return the index folder at `path`; the same as `IndexFolder.open`."""
    return IndexFolder.open(path)
