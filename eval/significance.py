"""Whether one system is better than another, or these queries fell its way.

Differences are paired by query. The randomisation test asks how often a difference this large
comes up when the two systems' scores are swapped query by query at random; it assumes nothing
about their distribution and is the default. The paired t-test, scipy's, is there for comparison
with papers that used it. Confidence intervals are percentile bootstraps over queries, scipy's.

References
----------
Smucker, Allan, Carterette, *A Comparison of Statistical Significance Tests for Information
Retrieval Evaluation*, CIKM 2007; Holm, *A Simple Sequentially Rejective Multiple Test
Procedure*, Scand. J. Statistics 1979; Sakai, *Laboratory Experiments in Information Retrieval*,
2018, chapter 4 (correct for all comparisons of one table).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from eval.results import Results
from lsr.core.config import Config
from lsr.core.errors import ArgumentError, DataError

__all__ = [
    "CompareConfig",
    "Comparison",
    "QueryDifference",
    "compare",
    "holm",
    "mean_interval",
    "query_differences",
]


class CompareConfig(Config):
    """How systems are compared.

    Attributes
    ----------
    test : {"randomisation", "t"}
        The paired test, two-sided.
    n_resamples : int
        Of the randomisation test and the bootstrap; the smallest p-value is 1 / (n + 1).
    confidence : float
        Of the intervals.
    seed : int
        Of both.
    """

    test: Literal["randomisation", "t"] = "randomisation"
    n_resamples: int = Field(default=9999, ge=99)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=42, ge=0)


class Comparison(BaseModel):
    """One system against the baseline on one measure of one collection.

    Attributes
    ----------
    difference : float
        Mean of system minus baseline over the queries.
    low, high : float
        Bootstrap confidence interval of that mean.
    p, p_holm : float
        Two-sided p-value, and after Holm's correction over all comparisons of its collection
        and measure.
    wins, ties, losses : int
        Queries on which the system is better, equal, worse.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    measure: str
    system: str
    baseline: str
    score: float
    baseline_score: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    n_queries: int


class QueryDifference(BaseModel):
    """One query on which two systems differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query_id: str
    score: float
    baseline_score: float
    difference: float


def compare(
    results: Sequence[Results],
    *,
    baseline: str | None = None,
    measures: Sequence[str] = (),
    config: CompareConfig | None = None,
) -> list[Comparison]:
    """Compare every system with the baseline, collection by collection.

    Parameters
    ----------
    results : sequence of Results
        Of several systems, on one or more collections.
    baseline : str, optional
        Name of a system; the first of `results` otherwise.
    measures : sequence of str
        All measures that a collection's results share, otherwise; but how much of a result was
        judged is no quality of it.
    config : CompareConfig, optional
        Test and resampling.

    Raises
    ------
    ArgumentError
        If a collection lacks the baseline or has nothing to compare, or a measure is missing.
    DataError
        If two results of one collection have different queries, or a system stands twice.
    """
    config = config or CompareConfig()
    if not results:
        raise ArgumentError("There are no results to compare.")
    baseline = baseline or results[0].system
    comparisons: list[Comparison] = []
    for label in dict.fromkeys(r.label for r in results):
        group = [r for r in results if r.label == label]
        base, others = _split(group, baseline)
        shared = [m for m in base.per_query if all(m in r.per_query for r in others)]
        for name in measures or [m for m in shared if not m.startswith("Judged")]:
            if name not in shared:
                raise ArgumentError(
                    f"Not all results on {label} have the measure {name!r}; they share "
                    f"{', '.join(shared) or 'none'}."
                )
            family = [_compare_two(other, base, name, config) for other in others]
            corrected = holm([c.p for c in family])
            comparisons += [
                c.model_copy(update={"p_holm": p}) for c, p in zip(family, corrected, strict=True)
            ]
    return comparisons


def query_differences(system: Results, baseline: Results, measure: str) -> list[QueryDifference]:
    """Return every query with both scores, the system's worst losses first."""
    mine, theirs = _paired(system, baseline, measure)
    query_ids = list(baseline.per_query[measure])
    rows = [
        QueryDifference(query_id=q, score=a, baseline_score=b, difference=a - b)
        for q, a, b in zip(query_ids, mine.tolist(), theirs.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: (row.difference, row.query_id))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values, in the order given.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    n = len(p_values)
    adjusted = [0.0] * n
    highest = 0.0
    for rank, at in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (n - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def mean_interval(
    values: NDArray[np.float64], config: CompareConfig | None = None
) -> tuple[float, float]:
    """Return the percentile-bootstrap confidence interval of the mean of `values`."""
    from scipy.stats import bootstrap

    config = config or CompareConfig()
    if len(values) < 2 or np.ptp(values) == 0:
        # scipy refuses a sample without spread; its interval is the point.
        return float(values.mean()), float(values.mean())
    found: Any = bootstrap(
        (values,),
        np.mean,
        n_resamples=config.n_resamples,
        confidence_level=config.confidence,
        method="percentile",
        rng=np.random.default_rng(config.seed),
        batch=_batch(len(values)),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _split(group: Sequence[Results], baseline: str) -> tuple[Results, list[Results]]:
    names = [r.system for r in group]
    label = group[0].label
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"The system {name!r} stands twice on {label}.",
                hint="Give each its own name: lsr eval run … --name NAME.",
            )
    if baseline not in names or len(names) < 2:
        raise ArgumentError(
            f"On {label} there is nothing to compare with {baseline!r}: it has "
            f"{', '.join(repr(n) for n in names)}."
        )
    return group[names.index(baseline)], [r for r in group if r.system != baseline]


def _paired(
    system: Results, baseline: Results, measure: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mine, theirs = system.per_query[measure], baseline.per_query[measure]
    if mine.keys() != theirs.keys():
        raise DataError(
            f"{system.system} and {baseline.system} were scored on different queries of "
            f"{system.label} ({len(mine)} and {len(theirs)})."
        )
    return np.array([mine[q] for q in theirs]), np.array(list(theirs.values()))


def _compare_two(
    system: Results, baseline: Results, measure: str, config: CompareConfig
) -> Comparison:
    mine, theirs = _paired(system, baseline, measure)
    difference = mine - theirs
    low, high = mean_interval(difference, config)
    return Comparison(
        dataset=system.label,
        measure=measure,
        system=system.system,
        baseline=baseline.system,
        score=float(mine.mean()),
        baseline_score=float(theirs.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        p=_p_value(mine, theirs, config),
        p_holm=1.0,
        wins=int((difference > 0).sum()),
        ties=int((difference == 0).sum()),
        losses=int((difference < 0).sum()),
        n_queries=len(difference),
    )


def _p_value(
    mine: NDArray[np.float64], theirs: NDArray[np.float64], config: CompareConfig
) -> float:
    difference = mine - theirs
    if not difference.any():
        return 1.0
    if config.test == "t":
        from scipy.stats import ttest_rel

        if np.ptp(difference) == 0:
            raise DataError(
                "The paired t-test is undefined: every query differs by the same amount.",
                hint="Use the randomisation test.",
            )
        return float(ttest_rel(mine, theirs).pvalue)
    return _randomisation(difference, config)


def _randomisation(difference: NDArray[np.float64], config: CompareConfig) -> float:
    """Return the share of swaps of the two systems' scores that differ as much as they do.

    Few queries: every swap. Else random ones, by matrix products: scipy's general permutation test
    takes sixty times as long over ten thousand queries.
    """
    n = len(difference)
    total = difference.sum()
    # Sums of the same numbers in another order are equal up to this.
    least = abs(total) * (1 - 1e-12) - 1e-12
    every = 2**n <= config.n_resamples
    n_swaps = 2**n if every else config.n_resamples
    rng = np.random.default_rng(config.seed)
    n_as_large = 0
    step = _batch(n)
    for start in range(0, n_swaps, step):
        rows = min(step, n_swaps - start)
        if every:
            swapped: NDArray[Any] = np.arange(start, start + rows)[:, None] >> np.arange(n) & 1
        else:
            bits = np.frombuffer(rng.bytes(-(-rows * n // 8)), dtype=np.uint8)
            swapped = np.unpackbits(bits, count=rows * n).reshape(rows, n)
        sums = total - 2 * (swapped.astype(np.float64) @ difference)
        n_as_large += int((np.abs(sums) >= least).sum())
    return n_as_large / n_swaps if every else (n_as_large + 1) / (n_swaps + 1)


def _batch(n_values: int) -> int:
    # Resamples held at a time: about 4 million values, 32 MB.
    return max(1, 4_000_000 // max(1, n_values))
