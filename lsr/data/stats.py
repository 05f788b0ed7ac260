"""What a data set holds, counted in one pass and in memory that does not grow with it."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from lsr.core.console import progress_bar
from lsr.data.base import Dataset

__all__ = ["dataset_stats"]


def dataset_stats(dataset: Dataset) -> dict[str, Any]:
    """Return the counts of a data set.

    Returns
    -------
    dict
        ``n_documents``, ``n_empty_documents`` (neither title nor text), ``n_titles``,
        ``n_characters``, ``document_words`` (mean, p50, p95, max) and, for every split, queries,
        judgements, relevant ones, and how many judgements name a document or a query that is
        not there.

    Raises
    ------
    DataError, RecordError
        As the data set's readers.
    """
    splits: dict[str, dict[str, Any]] = {}
    wanted: dict[str, list[tuple[str, bool]]] = {}
    for split in dataset.splits():
        splits[split] = _split_stats(dataset, split, wanted)
    # 4 bytes a document; everything else is a counter.
    words = array("I")
    n_empty = n_titles = n_characters = 0
    with progress_bar("Counting", dataset.n_documents(), unit="documents") as advance:
        for document in dataset.documents():
            content = document.content
            words.append(len(content.split()))
            n_characters += len(content)
            n_titles += bool(document.title.strip())
            n_empty += not content.strip()
            wanted.pop(document.doc_id, None)
            advance(1)
    # What is left of the judged documents is not in the collection.
    for missing in wanted.values():
        for split, relevant in missing:
            splits[split]["n_qrels_without_document"] += 1
            splits[split]["n_relevant_without_document"] += relevant
    return {
        "name": dataset.name,
        "n_documents": len(words),
        "n_empty_documents": n_empty,
        "n_titles": n_titles,
        "n_characters": n_characters,
        "document_words": _spread(words),
        "splits": splits,
    }


def _split_stats(
    dataset: Dataset, split: str, wanted: dict[str, list[tuple[str, bool]]]
) -> dict[str, Any]:
    judged: set[str] = set()
    n_qrels = n_relevant = highest = 0
    for qrel in dataset.qrels(split):
        judged.add(qrel.query_id)
        n_qrels += 1
        n_relevant += qrel.relevance > 0
        highest = max(highest, qrel.relevance)
        wanted.setdefault(qrel.doc_id, []).append((split, qrel.relevance > 0))
    words = array("I")
    for query in dataset.queries(split):
        words.append(len(query.text.split()))
    return {
        "n_queries": len(words),
        "n_judged_queries_without_text": len(judged) - len(words),
        "query_words": _spread(words),
        "n_qrels": n_qrels,
        "n_relevant": n_relevant,
        "highest_relevance": highest,
        "n_qrels_without_document": 0,
        "n_relevant_without_document": 0,
    }


def _spread(counts: array[int]) -> dict[str, float]:
    if not counts:
        return {"mean": 0.0, "p50": 0.0, "p95": 0.0, "max": 0.0}
    values = np.frombuffer(counts, dtype=np.uint32)
    return {
        "mean": round(float(values.mean()), 2),
        "p50": float(np.percentile(values, 50)),
        "p95": float(np.percentile(values, 95)),
        "max": float(values.max()),
    }
