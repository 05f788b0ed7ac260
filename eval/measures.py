"""Measures by name, in the ir-measures grammar; which ones a collection is reported with.

Nothing is computed here or anywhere in this package by hand: `score_queries` gives a ranking to
ir-measures, whose nDCG, recall and average precision are trec_eval's own C code (pytrec_eval).

Its providers break ties in different ways (pytrec_eval by document id descending, the
reciprocal-rank and judgement providers ascending), so one report could mix two rankings of one
run. Here ties are resolved once, by trec_eval's rule on the scores as trec_eval holds them
(float32, then document id descending), and every provider is handed that one order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lsr.core.errors import ArgumentError, DataError, MissingDependencyError, near_names
from lsr.core.records import Qrel

if TYPE_CHECKING:
    from eval.runs import RunTable

__all__ = [
    "BINARY_FROM_2",
    "DEFAULT_MEASURES",
    "PerQuery",
    "depth_of",
    "group_qrels",
    "measures_for",
    "parse_measures",
    "score_queries",
    "summarise",
]

PerQuery: TypeAlias = dict[str, dict[str, float]]
"""Measure name to query id to value."""

DEFAULT_MEASURES: tuple[str, ...] = ("nDCG@10", "RR@10", "R@100", "R@1000", "Judged@10")
BINARY_FROM_2: tuple[str, ...] = (
    "nDCG@10",
    "RR(rel=2)@10",
    "R(rel=2)@100",
    "R(rel=2)@1000",
    "Judged@10",
)
"""TREC Deep Learning: grade 1 is "related", not relevant, so binary measures begin at 2."""

_CHUNK = 256


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError:
        raise MissingDependencyError("ir_measures", extra="eval", purpose="Scoring a run") from None
    return ir_measures


def measures_for(dataset: str, split: str = "test") -> tuple[str, ...]:
    """Return the measures a collection is reported with by default.

    Examples
    --------
    >>> measures_for("msmarco_dl19_dl20_pool", "dl19")[1]
    'RR(rel=2)@10'
    >>> measures_for("nfcorpus")[1]
    'RR@10'
    """
    name = f"{dataset}/{split}".lower().replace("_", "-")
    if "trec-dl" in name or "/dl19" in name or "/dl20" in name:
        return BINARY_FROM_2
    return DEFAULT_MEASURES


def parse_measures(names: Sequence[str]) -> list[Any]:
    """Return the ir-measures objects of `names`, in order, each once.

    Raises
    ------
    ArgumentError
        If a name is not in the grammar or no installed provider computes it; lists all of them.
    """
    library = _ir_measures()
    parsed: dict[str, Any] = {}
    problems: list[str] = []
    for name in names:
        try:
            measure = library.parse_measure(name)
            supported = library.DefaultPipeline.supports(measure)
        except (NameError, ValueError, AssertionError, TypeError) as error:
            base = name.partition("@")[0].partition("(")[0]
            near = near_names(base, library.measures.registry)
            problems.append(f"{name!r}: {error or 'not a measure'}.{near}")
            continue
        if supported:
            parsed[str(measure)] = measure
        else:
            problems.append(f"{name!r}: no installed provider computes it.")
    if problems or not parsed:
        raise ArgumentError(
            "Unknown measures:\n  " + "\n  ".join(problems) if problems else "No measure given.",
            hint="Use the ir-measures grammar, for example nDCG@10, RR(rel=2)@10, R@100.",
        )
    return list(parsed.values())


def depth_of(measures: Iterable[Any]) -> int | None:
    """Return the deepest cutoff, or None if a measure reads the whole ranking."""
    cutoffs = [measure.params.get("cutoff") for measure in measures]
    return None if any(not isinstance(c, int) for c in cutoffs) else max(cutoffs, default=None)


def group_qrels(qrels: Iterable[Qrel]) -> dict[str, dict[str, int]]:
    """Return judgements by query and document.

    Raises
    ------
    DataError
        If there is none, or one pair is judged twice with different grades.
    """
    grouped: dict[str, dict[str, int]] = {}
    for qrel in qrels:
        judged = grouped.setdefault(qrel.query_id, {})
        if judged.setdefault(qrel.doc_id, qrel.relevance) != qrel.relevance:
            raise DataError(
                f"Document {qrel.doc_id!r} is judged {judged[qrel.doc_id]} and {qrel.relevance} "
                f"for query {qrel.query_id!r}."
            )
    if not grouped:
        raise DataError("There are no judgements to evaluate against.")
    return grouped


def score_queries(
    run: RunTable, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[Any]
) -> PerQuery:
    """Return every measure for every judged query.

    The queries are those of `qrels`, in its order: a judged query that `run` lacks counts 0
    (as ``trec_eval -c`` does), a query of `run` without judgements is left out.

    Parameters
    ----------
    run : RunTable
        Results of a system.
    qrels : mapping
        Query id to document id to grade, from `group_qrels`.
    measures : sequence
        From `parse_measures`.
    """
    library = _ir_measures()
    depth = depth_of(measures)
    values: PerQuery = {str(measure): {} for measure in measures}
    query_ids = list(qrels)
    # In chunks: 10,000 queries × 1,000 results as Python dictionaries would take gigabytes.
    for start in range(0, len(query_ids), _CHUNK):
        chunk = query_ids[start : start + _CHUNK]
        ranked: dict[str, dict[str, int]] = {}
        for query_id in chunk:
            docs = _trec_order(*run.results(query_id))[:depth]
            # ir-measures' judgement provider divides by zero on an empty list; absent means 0.
            if docs:
                ranked[query_id] = {doc: len(docs) - at for at, doc in enumerate(docs)}
        evaluator = library.DefaultPipeline.evaluator(measures, {q: dict(qrels[q]) for q in chunk})
        for metric in evaluator.iter_calc(ranked):
            values[str(metric.measure)][metric.query_id] = float(metric.value)
    return {name: {q: found[q] for q in query_ids} for name, found in values.items()}


def summarise(per_query: PerQuery, measures: Sequence[Any]) -> dict[str, float]:
    """Return each measure over all queries as ir-measures defines it (nearly always the mean)."""
    summary = {}
    for measure in measures:
        aggregator = measure.aggregator()
        for value in per_query[str(measure)].values():
            aggregator.add(value)
        summary[str(measure)] = float(aggregator.result())
    return summary


def _trec_order(docs: Sequence[str], scores: Any) -> list[str]:
    """Return `docs` by trec_eval's rule: float32 score descending, then document id descending."""
    pairs = zip(np.asarray(scores, dtype=np.float32).tolist(), docs, strict=True)
    return [doc for _, doc in sorted(pairs, reverse=True)]
