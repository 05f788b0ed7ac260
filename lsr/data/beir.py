"""BEIR folders: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``, each may be compressed.

Judgements may stand in the format of trec_eval too (``qrels/SPLIT.trec``, ``.txt``, ``.qrels``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsr.core.errors import DataError, DatasetNotFoundError
from lsr.core.files import strip_compression
from lsr.core.records import Document, Qrel, Query
from lsr.data.bad_lines import BadLines
from lsr.data.base import ALL_QUERIES, Dataset, first_present
from lsr.data.fields import BEIR_FIELDS, FieldMap
from lsr.data.jsonl import count_lines, read_documents, read_queries
from lsr.data.qrels import read_any_qrels

__all__ = ["BeirDataset"]

_QRELS_SUFFIXES = (".tsv", ".trec", ".txt", ".qrels")


class BeirDataset(Dataset):
    """A folder in BEIR's layout.

    Parameters
    ----------
    folder : Path
        Holds at least the corpus.
    name : str, optional
        Default: the folder's name.
    fields : FieldMap
        What the corpus' fields mean; queries always have ``_id`` and ``text``.
    bad : BadLines, optional
        The budget of bad lines; none are tolerated by default.

    Raises
    ------
    DatasetNotFoundError
        If the folder has no corpus.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str | None = None,
        fields: FieldMap = BEIR_FIELDS,
        bad: BadLines | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.name = name or self.folder.resolve().name
        corpus = first_present(self.folder, "corpus.jsonl")
        if corpus is None:
            raise DatasetNotFoundError(
                f"No corpus.jsonl (plain, .zst or .gz) in {self.folder}.", hint="Check the path."
            )
        self.corpus_path = corpus
        self.queries_path = first_present(self.folder, "queries.jsonl")
        self._fields = fields
        self._bad = bad

    def documents(self) -> Iterator[Document]:
        """Yield the documents in file order."""
        return read_documents(self.corpus_path, fields=self._fields, bad=self._bad)

    def n_documents(self) -> int | None:
        """Return the number of lines of a plain corpus of moderate size, else None."""
        return count_lines(self.corpus_path)

    def splits(self) -> list[str]:
        """Return the splits that have a file in ``qrels/``, sorted."""
        return sorted(self._qrels_files())

    def queries(self, split: str = "test") -> Iterator[Query]:
        """Yield the queries that `split` judges, in file order; ``"all"`` yields every query."""
        judged = None
        if split != ALL_QUERIES:
            judged = {qrel.query_id for qrel in self.qrels(split)}
        if self.queries_path is None:
            raise DataError(f"The data set {self.name!r} has no queries.jsonl.")
        for query in read_queries(self.queries_path, bad=self._bad):
            if judged is None or query.query_id in judged:
                yield query

    def qrels(self, split: str = "test") -> Iterator[Qrel]:
        """Yield the judgements of `split` in file order."""
        files = self._qrels_files()
        if split not in files:
            self._require_split(split)
        return read_any_qrels(files[split], bad=self._bad)

    def _qrels_files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        folder = self.folder / "qrels"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            plain = Path(strip_compression(path))
            if path.is_file() and plain.suffix in _QRELS_SUFFIXES:
                found.setdefault(plain.stem, path)
        return found
