"""The queries of a collection that count: those with judgements."""

from __future__ import annotations

from dataclasses import dataclass

from eval.measures import group_qrels
from lsr.core.errors import DataError
from lsr.data.base import Dataset

__all__ = ["Topics", "load_topics"]


@dataclass(frozen=True)
class Topics:
    """The judged queries of a split.

    Attributes
    ----------
    query_ids, texts : list of str
        Judged queries whose text is there, in the order of the collection.
    qrels : dict
        Judgements by query and document; may hold queries without a text, which then count 0.
    """

    dataset: str
    split: str
    query_ids: list[str]
    texts: list[str]
    qrels: dict[str, dict[str, int]]


def load_topics(dataset: Dataset, split: str = "test") -> Topics:
    """Return the judged queries of a split with their judgements.

    Raises
    ------
    DataError
        If there is no judgement, or no judged query has a text.
    """
    qrels = group_qrels(dataset.qrels(split))
    judged = [query for query in dataset.queries(split) if query.query_id in qrels]
    if not judged:
        raise DataError(
            f"None of the {len(qrels)} judged queries of {dataset.name}/{split} has a text.",
            hint="Queries and judgements do not belong together: compare their ids.",
        )
    return Topics(
        dataset.name, split, [q.query_id for q in judged], [q.text for q in judged], qrels
    )
