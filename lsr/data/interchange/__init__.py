"""Encoded collections in other systems' formats, in and out."""

from lsr.data.interchange.formats import (
    FORMATS,
    Format,
    export_vectors,
    import_vectors,
    require_format,
)
from lsr.data.interchange.impacts import DEFAULT_SCALE, impact_matrix, to_impacts
from lsr.data.interchange.sidecar import Sidecar

__all__ = [
    "DEFAULT_SCALE",
    "FORMATS",
    "Format",
    "Sidecar",
    "export_vectors",
    "impact_matrix",
    "import_vectors",
    "require_format",
    "to_impacts",
]
