"""Collections: documents, queries and judgements from any source, and encoded collections."""

from lsr.data.bad_lines import BadLines
from lsr.data.base import Dataset
from lsr.data.fields import FieldMap
from lsr.data.registry import DatasetEntry, fetch_dataset, list_datasets, load_dataset
from lsr.data.vectors import VectorCollection, open_vectors, write_vectors

__all__ = [
    "BadLines",
    "Dataset",
    "DatasetEntry",
    "FieldMap",
    "VectorCollection",
    "fetch_dataset",
    "list_datasets",
    "load_dataset",
    "open_vectors",
    "write_vectors",
]
