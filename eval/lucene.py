"""BM25 and impact search in Lucene, through Anserini: the references of this field.

Collections are indexed and searched by Anserini's own command-line classes, with the settings of
its published regressions, so a figure here is the figure there. Only timing runs inside this
process (`LuceneSearcher`), where Lucene can answer one query at a time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from eval.java import find_java, load_classes
from eval.runs import RunTable
from eval.topics import Topics
from lsr.core.errors import ExternalToolError
from lsr.core.records import Document

__all__ = [
    "LuceneSearcher",
    "folder_bytes",
    "index_impacts",
    "index_texts",
    "search_impacts",
    "search_texts",
]

_INDEX = "io.anserini.index.IndexCollection"
_SEARCH = "io.anserini.search.SearchCollection"


def index_texts(
    documents: Iterable[Document], work: Path, *, n_threads: int = 2
) -> tuple[Path, float]:
    """Index texts for BM25 and return the index and the seconds Lucene took.

    Title and text are one field ("flat"), English stop words out, Porter stems: Anserini's default.
    """
    corpus = work / "corpus"
    corpus.mkdir(parents=True)
    with open(corpus / "documents.jsonl", "w", encoding="utf-8") as stream:
        for document in documents:
            record = {"id": document.doc_id, "contents": document.content}
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
    return _index(corpus, work / "index", "JsonCollection", [], n_threads)


def index_impacts(impacts: Path, work: Path, *, n_threads: int = 2) -> tuple[Path, float]:
    """Index a folder of JSON impacts (`lsr.data.interchange`); return it and Lucene's seconds."""
    extra = ["-impact", "-pretokenized"]
    return _index(impacts, work / "index", "JsonVectorCollection", extra, n_threads)


def search_texts(
    index: Path,
    topics: Topics,
    k: int,
    work: Path,
    *,
    k1: float = 0.9,
    b: float = 0.4,
    n_threads: int = 2,
) -> RunTable:
    """Return the BM25 run of the judged queries."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "queries.tsv"
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(
            f"{query_id}\t{' '.join(text.split())}\n"
            for query_id, text in zip(topics.query_ids, topics.texts, strict=True)
        )
    model = ["-bm25", "-bm25.k1", str(k1), "-bm25.b", str(b)]
    return _search(index, file, k, work, model, n_threads)


def search_impacts(
    index: Path, topics: Path, k: int, work: Path, *, n_threads: int = 2
) -> RunTable:
    """Return the run of the queries in a file of repeated tokens (`lsr.data.interchange`).

    Scores are the whole numbers that Lucene added up: its front end moves equal ones apart by tiny
    amounts when it writes a run, so that ties look like an order.
    """
    work.mkdir(parents=True, exist_ok=True)
    extra = ["-impact", "-pretokenized"]
    run = _search(index, topics, k, work, extra, n_threads)
    return RunTable.from_scored(found._replace(score=round(found.score)) for found in run)


def folder_bytes(path: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


class LuceneSearcher:
    """A Lucene index searched inside this process, for timing.

    Parameters
    ----------
    index : Path
        From `index_texts` or `index_impacts`.
    kind : {"bm25", "impact"}
        How it was indexed.
    """

    def __init__(
        self, index: Path, kind: Literal["bm25", "impact"], *, k1: float = 0.9, b: float = 0.4
    ) -> None:
        name = "SimpleSearcher" if kind == "bm25" else "SimpleImpactSearcher"
        searcher, self._integer, self._map, self._list = load_classes(
            f"io.anserini.search.{name}",
            "java.lang.Integer",
            "java.util.HashMap",
            "java.util.ArrayList",
        )
        self._searcher: Any = searcher(str(index))
        if kind == "bm25":
            self._searcher.set_bm25(k1, b)

    def prepare(self, weights: dict[str, int]) -> Any:
        """Return an impact query as the Java map that `search` takes."""
        made = self._map()
        for token, weight in weights.items():
            made.put(token, self._integer(weight))
        return made

    def search(self, query: Any, k: int) -> list[tuple[str, float]]:
        """Return ids and scores of the best `k` documents of a text or a prepared query."""
        return [(hit.docid, hit.score) for hit in self._searcher.search(query, k)]

    def time(self, query: Any, k: int) -> object:
        """Search and leave the result in Java: what is timed is Lucene, not the bridge."""
        return self._searcher.search(query, k)

    def time_batch(self, queries: Sequence[Any], k: int, *, n_threads: int) -> object:
        """Search many on Lucene's own threads and leave the results in Java."""
        asked, names = self._list(), self._list()
        for at, query in enumerate(queries):
            asked.add(query)
            names.add(str(at))
        return self._searcher.batch_search(asked, names, k, n_threads)

    def close(self) -> None:
        """Close the index."""
        self._searcher.close()


def _index(
    corpus: Path, index: Path, collection: str, extra: list[str], n_threads: int
) -> tuple[Path, float]:
    java = find_java()
    started = time.perf_counter()
    java.run(
        _INDEX,
        [
            *("-collection", collection),
            *("-input", str(corpus)),
            *("-index", str(index)),
            *("-generator", "DefaultLuceneDocumentGenerator"),
            *("-threads", str(n_threads)),
            "-optimize",
            *extra,
        ],
    )
    seconds = time.perf_counter() - started
    if not index.is_dir():
        raise ExternalToolError(f"{_INDEX} ended without writing {index}.")
    return index, seconds


def _search(
    index: Path, queries: Path, k: int, work: Path, model: list[str], n_threads: int
) -> RunTable:
    run = work / "run.trec"
    find_java().run(
        _SEARCH,
        [
            *("-index", str(index)),
            *("-topics", str(queries)),
            *("-topicReader", "TsvString"),
            *("-output", str(run)),
            *("-hits", str(k)),
            *("-threads", str(n_threads)),
            *model,
        ],
    )
    if not run.is_file():
        raise ExternalToolError(f"{_SEARCH} ended without writing {run}.")
    return RunTable.load(run)
