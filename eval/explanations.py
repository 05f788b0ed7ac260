"""Why a system did worse, or better, than the baseline on single queries.

For a query: what the system ranked first, and the judged document it should have; each with the
terms that made its score (`indexing.explain`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.results import Results
from eval.running import Runner
from eval.significance import query_differences
from eval.systems import SparseSystem
from lsr.core.errors import ArgumentError

__all__ = ["ExplainedDocument", "ExplainedQuery", "ExplainedTerm", "explain_extremes"]

_TERMS = 8
_SNIPPET = 240


@dataclass(frozen=True)
class ExplainedTerm:
    """One term's part of a score; `share` is that of the query's largest, for a bar."""

    token: str
    query_weight: float
    document_weight: float
    contribution: float
    share: float


@dataclass(frozen=True)
class ExplainedDocument:
    """A document for a query.

    Attributes
    ----------
    rank : int or None
        In the system's run; None: not in it.
    grade : int or None
        Its judgement; None: not judged.
    n_more : int
        Terms that matched too and are not listed.
    missing : tuple of str
        The heaviest tokens of the query that the document lacks.
    """

    doc_id: str
    text: str
    rank: int | None
    grade: int | None
    score: float
    terms: tuple[ExplainedTerm, ...]
    n_more: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ExplainedQuery:
    """One query on which two systems differ."""

    query_id: str
    text: str
    score: float
    baseline_score: float
    documents: tuple[ExplainedDocument, ...]


def explain_extremes(
    runner: Runner,
    collection: str,
    system: str,
    result: Results,
    baseline: Results,
    measure: str,
    *,
    n_worst: int = 3,
    n_best: int = 2,
) -> list[ExplainedQuery]:
    """Return the queries with the largest losses and gains against the baseline, explained.

    Raises
    ------
    ArgumentError
        If the system is not sparse: only sparse scores are sums over terms.
    """
    under_test = next(s for s in runner.suite.systems if s.name == system)
    if not isinstance(under_test, SparseSystem):
        raise ArgumentError(f"{system!r} is no sparse system; only those can be explained.")
    rows = query_differences(result, baseline, measure)
    worst = [row for row in rows if row.difference < 0][:n_worst]
    best = [row for row in reversed(rows) if row.difference > 0][:n_best]
    bench = runner.bench(collection)
    texts = dict(zip(bench.topics.query_ids, bench.topics.texts, strict=True))
    chosen = [row for row in (*worst, *best) if row.query_id in texts]
    run = runner.ran(collection, system).run
    wanted: dict[str, list[str]] = {}
    for row in chosen:
        docs = run.results(row.query_id)[0]
        best_judged = _best_judged(bench.topics.qrels[row.query_id], docs)
        wanted[row.query_id] = list(dict.fromkeys([*docs[:1], *best_judged]))
    contents = bench.texts({doc for docs in wanted.values() for doc in docs})
    explainer = _Explainer(runner, collection, under_test)
    found = []
    for row in chosen:
        docs = run.results(row.query_id)[0]
        found.append(
            ExplainedQuery(
                row.query_id,
                texts[row.query_id],
                row.score,
                row.baseline_score,
                tuple(
                    explainer.explain(
                        texts[row.query_id],
                        doc,
                        contents[doc],
                        docs.index(doc) + 1 if doc in docs else None,
                        bench.topics.qrels[row.query_id].get(doc),
                    )
                    for doc in wanted[row.query_id]
                    if doc in contents
                ),
            )
        )
    return found


def _best_judged(grades: Mapping[str, int], docs: Sequence[str]) -> list[str]:
    """Return the best judged document, of several the first in `docs`; none if none is relevant."""
    ranks = {doc: at for at, doc in enumerate(docs)}

    def place(doc: str) -> tuple[int, int, str]:
        return -grades[doc], ranks.get(doc, len(ranks)), doc

    return sorted((doc for doc, grade in grades.items() if grade > 0), key=place)[:1]


class _Explainer:
    def __init__(self, runner: Runner, collection: str, system: SparseSystem) -> None:
        bench = runner.bench(collection)
        self._target = bench.sparse_target(system)
        self._rows = {doc_id: row for row, doc_id in enumerate(self._target.doc_ids)}

    def explain(
        self, query: str, doc_id: str, text: str, rank: int | None, grade: int | None
    ) -> ExplainedDocument:
        from indexing.explain import explain

        encoder = self._target.encoder
        vector = self._target.encode_queries([query]).row(0)
        found = explain(self._target.index, vector, self._rows[doc_id], encoder.vocabulary)
        largest = found.terms[0].contribution if found.terms else 1.0
        shown = found.terms[:_TERMS]
        return ExplainedDocument(
            doc_id,
            text if len(text) <= _SNIPPET else text[:_SNIPPET].rsplit(" ", 1)[0] + " …",
            rank,
            grade,
            found.score,
            tuple(
                ExplainedTerm(
                    t.token,
                    t.query_weight,
                    t.document_weight,
                    t.contribution,
                    t.contribution / largest,
                )
                for t in shown
            ),
            len(found.terms) - len(shown),
            tuple(t.token for t in found.missing[:5]),
        )
