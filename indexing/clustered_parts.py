"""What a clustered index is made of, in memory and on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexing.blocks import BlockMaxima
from indexing.forward import ForwardIndex
from indexing.jit import read_only
from indexing.kernels_arrays import Documents, Maxima
from indexing.kernels_geometry import BLOCK_ROWS, SUPER_BLOCKS
from lsr.core.artifact import open_array
from lsr.core.errors import ArtifactFormatError
from lsr.core.manifest import Manifest
from lsr.core.sparse import Int32Array

__all__ = ["ClusteredParts"]


@dataclass(frozen=True, slots=True)
class ClusteredParts:
    """The arrays of a clustered index.

    Attributes
    ----------
    document_rows : int32, shape (n_documents,)
        Row of each position.
    positions : int32, shape (n_documents,)
        Position of each row.
    forward : ForwardIndex
        By position.
    blocks : BlockMaxima
        Of blocks of `BLOCK_ROWS` documents.
    wide : BlockMaxima
        Of wide blocks, or `BlockMaxima.nothing`.
    wide_rows : int
        Documents of a wide block; 0 for none.
    """

    document_rows: Int32Array
    positions: Int32Array
    forward: ForwardIndex
    blocks: BlockMaxima
    wide: BlockMaxima
    wide_rows: int

    @classmethod
    def open(cls, path: Path, manifest: Manifest) -> ClusteredParts:
        """Return the memory-mapped arrays of an index.

        Raises
        ------
        ArtifactFormatError
            If they are those of an earlier release.
        """
        if "wide_rows" not in manifest.details:
            raise ArtifactFormatError(
                f"{path} holds the clustered layout of an earlier release.",
                hint="Build it again: lsr index build.",
            )
        wide_rows = int(manifest.details["wide_rows"])
        return cls(
            open_array(path, "document_rows", manifest),
            open_array(path, "positions", manifest),
            ForwardIndex.open(path, manifest),
            BlockMaxima.open(path, "blocks", manifest),
            BlockMaxima.open(path, "wide", manifest) if wide_rows else BlockMaxima.nothing(),
            wide_rows,
        )

    def arrays(self) -> dict[str, Any]:
        """Return the arrays by the name they are stored under."""
        return {
            "document_rows": self.document_rows,
            "positions": self.positions,
            **self.forward.arrays(),
            **self.blocks.arrays("blocks"),
            **(self.wide.arrays("wide") if self.wide_rows else {}),
        }

    def details(self) -> dict[str, Any]:
        """Return what `open` needs from the manifest."""
        return {
            "n_documents": len(self.document_rows),
            "vocabulary_size": self.forward.vocabulary_size,
            "wide_rows": self.wide_rows,
            **self.forward.details(),
        }

    def arguments(self) -> tuple[Any, ...]:
        """Return what a search takes first: documents, blocks, wide blocks and their shift."""
        forward = self.forward
        documents = Documents(
            self.document_rows, forward.pointers, forward.terms, forward.coarse, forward.fine
        )
        # A super-block is 64 documents; the shift is how many bits of wide blocks that is.
        shift = (SUPER_BLOCKS * BLOCK_ROWS // (self.wide_rows or 1)).bit_length() - 1
        return (
            tuple(read_only(array) for array in documents),
            _flat(self.blocks),
            _flat(self.wide),
            shift,
        )


def _flat(maxima: BlockMaxima) -> tuple[Any, ...]:
    """Return the arrays in the order of `Maxima`, the dense rows in one dimension."""
    arrays = (getattr(maxima, name) for name in Maxima._fields)
    return tuple(read_only(array.reshape(-1)) for array in arrays)
