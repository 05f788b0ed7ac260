"""Two systems that must find the same: the oracle test of an export, a reader and an index.

Scores of the same whole numbers are the same sums in every engine, so whatever differs is a tie or
a bug. Ties at the end of a list are the one freedom: of several documents with the k-th score any
may be shown.
"""

from __future__ import annotations

import logging

from eval.reproduce import Check, Verdict
from eval.running import ABSENT, Runner
from eval.runs import RunTable
from eval.suite import Agreement

__all__ = ["check_agreements", "same_top"]

logger = logging.getLogger(__name__)

_MEASURE = "nDCG@10"
_TOLERANCE = 0.00005


def same_top(run: RunTable, other: RunTable, query_id: str, k: int) -> bool:
    """Return whether two runs have the same best `k` documents for a query, ties aside.

    The documents above the k-th score must be the same with the same scores, and the k-th score
    too.
    """
    certain, last = _above_last(run, query_id, k)
    theirs, their_last = _above_last(other, query_id, k)
    return certain == theirs and last == their_last


def check_agreements(runner: Runner) -> list[Check]:
    """Return two checks for each agreement of the suite: the best documents, and nDCG@10."""
    checks: list[Check] = []
    for pair in runner.suite.agreements:
        try:
            checks += _check(runner, pair)
        except ABSENT as error:
            skipped = _line(pair, f"top {pair.k}", 1.0, None, "skipped", 0.0)
            checks.append(skipped.model_copy(update={"reason": str(error)}))
            logger.info("Skipped %s as %s: %s", pair.system, pair.other, error.message)
    return checks


def _check(runner: Runner, pair: Agreement) -> list[Check]:
    mine, theirs = (runner.ran(pair.collection, name).run for name in (pair.system, pair.other))
    query_ids = runner.bench(pair.collection).topics.query_ids
    differing = [q for q in query_ids if not same_top(mine, theirs, q, pair.k)]
    share = 1 - len(differing) / len(query_ids)
    first = _line(pair, f"top {pair.k}", 1.0, share, "FAIL" if differing else "OK", 0.0)
    if differing:
        shown = ", ".join(differing[:5])
        first = first.model_copy(update={"reason": f"{len(differing)} queries differ: {shown}"})
    found, wanted = (
        runner.result(pair.collection, name).measures.get(_MEASURE)
        for name in (pair.system, pair.other)
    )
    if found is None or wanted is None:
        return [first]
    verdict: Verdict = "OK" if abs(found - wanted) <= _TOLERANCE else "FAIL"
    return [first, _line(pair, _MEASURE, wanted, found, verdict, _TOLERANCE)]


def _line(
    pair: Agreement,
    measure: str,
    expected: float,
    found: float | None,
    verdict: Verdict,
    tolerance: float,
) -> Check:
    return Check(
        collection=pair.collection,
        system=pair.system,
        measure=measure,
        expected=expected,
        tolerance=tolerance,
        found=found,
        verdict=verdict,
        source=f"as {pair.other}, ties aside",
    )


def _above_last(run: RunTable, query_id: str, k: int) -> tuple[dict[str, float], float]:
    docs, scores = run.results(query_id)
    best = dict(zip(docs[:k], (float(score) for score in scores[:k]), strict=True))
    # A list that ends before k ends because nothing is left: it has no ties to choose from.
    last = min(best.values()) if len(docs) > k else 0.0
    return {doc: score for doc, score in best.items() if score > last}, last
