"""Results of many systems on many collections, arranged for a reader.

Collections of one group (CQADupStack's forums) become one column, the mean of their scores. A
row's average is given only where the system has a score in every column: means over different
columns must not stand under one head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eval.results import Results
from eval.significance import Comparison

__all__ = ["Cell", "Overview", "overview", "significance_marks"]

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Cell:
    """One score.

    Attributes
    ----------
    value : float or None
        None: the system has no result there.
    mark : str
        ``▲`` or ``▼``: significantly better or worse than the baseline (Holm-corrected p below
        .05); empty otherwise, and for means over a group, which no test was made of.
    best : bool
        No system of the column is better.
    """

    value: float | None
    mark: str = ""
    best: bool = False

    @property
    def text(self) -> str:
        """The score with four digits and its mark."""
        return "" if self.value is None else f"{self.value:.4f}{self.mark}"


@dataclass(frozen=True)
class Overview:
    """One measure, systems down, collections across.

    Attributes
    ----------
    columns : list of str
        Collections and groups, then ``average`` if there is more than one.
    rows : dict
        System to its cells, in the order of `columns`.
    """

    measure: str
    baseline: str
    columns: list[str]
    rows: dict[str, list[Cell]] = field(default_factory=dict)


def overview(
    results: Sequence[Results],
    comparisons: Sequence[Comparison],
    *,
    measure: str = "nDCG@10",
    baseline: str = "",
    groups: Mapping[str, str] | None = None,
) -> Overview:
    """Return the table of one measure.

    Parameters
    ----------
    results : sequence of Results
        Of all systems on all collections.
    comparisons : sequence of Comparison
        From `eval.significance.compare`, for the marks.
    measure : str
        Collections without it are left out.
    baseline : str
        Its name, for the caption.
    groups : mapping, optional
        Collection to the group it is averaged into.
    """
    groups = groups or {}
    scored = [r for r in results if measure in r.measures]
    columns = list(dict.fromkeys(groups.get(r.label) or r.label for r in scored))
    members = {
        column: list(dict.fromkeys(r.label for r in scored if _column(r, groups) == column))
        for column in columns
    }
    systems = list(dict.fromkeys(r.system for r in scored))
    value = {(r.system, r.label): r.measures[measure] for r in scored}
    marks = significance_marks(comparisons, measure)
    table: dict[str, list[float | None]] = {}
    for system in systems:
        row = [_mean([value.get((system, m)) for m in members[column]]) for column in columns]
        table[system] = [*row, _mean(row)] if len(columns) > 1 else row
    heads = [*columns, "average"] if len(columns) > 1 else columns
    made = Overview(measure, baseline, heads)
    for system in systems:
        made.rows[system] = []
        for at, found in enumerate(table[system]):
            rivals = [v for s in systems if (v := table[s][at]) is not None]
            alone = at < len(columns) and members[columns[at]] == [columns[at]]
            made.rows[system].append(
                Cell(
                    found,
                    marks.get((system, columns[at]), "") if alone else "",
                    found is not None and len(rivals) > 1 and found == max(rivals),
                )
            )
    return made


def significance_marks(
    comparisons: Sequence[Comparison], measure: str
) -> dict[tuple[str, str], str]:
    """Return ``▲`` or ``▼`` by (system, collection), where a system differs significantly."""
    return {
        (c.system, c.dataset): "▲" if c.difference > 0 else "▼"
        for c in comparisons
        if c.measure == measure and c.p_holm < SIGNIFICANT
    }


def _column(result: Results, groups: Mapping[str, str]) -> str:
    return groups.get(result.label) or result.label


def _mean(values: Sequence[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return sum(there) / len(there) if there and len(there) == len(values) else None
