"""Scores against expected figures: OK, close, FAIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from eval.results import Results
from eval.running import Skipped
from eval.suite import Expected, Suite

__all__ = ["Check", "Verdict", "check_suite", "judge"]

Verdict = Literal["OK", "close", "FAIL", "skipped"]

_ROUNDING = 1e-9


class Check(BaseModel):
    """One expected figure and what was found.

    Attributes
    ----------
    found : float or None
        None where it could not be run here; `reason` says why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: str
    system: str
    measure: str
    expected: float
    tolerance: float
    found: float | None
    verdict: Verdict
    source: str
    reason: str = ""


def judge(found: float, expected: Expected) -> Verdict:
    """Return OK within the tolerance, close within some times of it, else FAIL."""
    off = abs(found - expected.value)
    if off <= expected.tolerance + _ROUNDING:
        return "OK"
    return "close" if off <= expected.tolerance * expected.close + _ROUNDING else "FAIL"


def check_suite(
    suite: Suite, results: Sequence[Results], skipped: Sequence[Skipped]
) -> list[Check]:
    """Return one check for every expected figure of a suite, in its order.

    A result without the expected measure is a FAIL: the suite asks for what it does not compute.
    """
    by_name = {(r.dataset, r.system): r for r in results}
    reasons = {(s.collection, s.system): s.reason for s in skipped}
    checks = []
    for each in suite.expected:
        at = (each.collection, each.system)
        common = {
            "collection": each.collection,
            "system": each.system,
            "measure": each.measure,
            "expected": each.value,
            "tolerance": each.tolerance,
            "source": each.source,
        }
        result = by_name.get(at)
        if result is None:
            reason = reasons.get(at, "it was not run")
            checks.append(Check(**common, found=None, verdict="skipped", reason=reason))
        elif each.measure not in result.measures:
            reason = f"the collection is not scored with {each.measure}"
            checks.append(Check(**common, found=None, verdict="FAIL", reason=reason))
        else:
            found = result.measures[each.measure]
            checks.append(Check(**common, found=found, verdict=judge(found, each)))
    return checks
