"""Results as text: one table a person reads, with what each row cost and how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from eval.results import Results

__all__ = ["COST_COLUMNS", "cost_cells", "human_bytes", "markdown_report"]

_RULES = (
    "- A judged query without results counts 0. Ties are ordered as trec_eval orders them. "
    "Times are those of one query on one thread after warm-up, median of several runs."
)
COST_COLUMNS = ("terms/doc", "terms/query", "FLOPS", "µs mean", "µs p99", "queries/s", "index")


def markdown_report(results: Sequence[Results], *, title: str = "Evaluation") -> str:
    """Return a Markdown report: one table a collection, then notes, commands and machine."""
    lines = [f"# {title}", ""]
    for label in dict.fromkeys(result.label for result in results):
        rows = [result for result in results if result.label == label]
        lines += [f"## {label}", "", *_table(rows), ""]
        lines += _notes(rows)
    lines += ["## How it was made", ""]
    for result in results:
        if result.command:
            lines.append(f"- {result.system} on {result.label}: `{result.command}`")
    for machine in dict.fromkeys(_machine(result) for result in results):
        lines.append(f"- {machine}")
    lines += [_RULES, ""]
    return "\n".join(lines)


def human_bytes(count: int | None) -> str:
    """Return bytes in the unit that suits, decimal.

    Examples
    --------
    >>> human_bytes(1_234_567)
    '1.2 MB'
    """
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def cost_cells(result: Results) -> list[str]:
    """Return the cells of `COST_COLUMNS`; empty where nothing was measured."""
    cost = result.efficiency
    sparsity, search, throughput = cost.sparsity, cost.search, cost.throughput
    return [
        f"{sparsity.terms_per_document:.1f}" if sparsity else "",
        f"{sparsity.terms_per_query:.1f}" if sparsity else "",
        f"{sparsity.flops:.2f}" if sparsity else "",
        f"{search.mean_us:,.0f}" if search else "",
        f"{search.p99_us:,.0f}" if search else "",
        f"{throughput.queries_per_s:,.0f}" if throughput else "",
        human_bytes(cost.total_index_bytes),
    ]


def _table(rows: Sequence[Results]) -> list[str]:
    measures = list(dict.fromkeys(name for row in rows for name in row.measures))
    costs = [cost_cells(row) for row in rows]
    shown = [at for at in range(len(COST_COLUMNS)) if any(cost[at] for cost in costs)]
    head = ["system", *measures, *(COST_COLUMNS[at] for at in shown)]
    lines = [
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * (len(head) - 1),
    ]
    for row, cost in zip(rows, costs, strict=True):
        scores = [f"{row.measures[m]:.4f}" if m in row.measures else "" for m in measures]
        lines.append("| " + " | ".join([row.system, *scores, *(cost[at] for at in shown)]) + " |")
    return lines


def _notes(rows: Sequence[Results]) -> list[str]:
    lines = [f"{rows[0].n_queries:,} judged queries."]
    for row in rows:
        notes = list(row.notes)
        cut = row.truncation
        if cut.document_tokens:
            notes.append(f"documents cut at {cut.document_tokens} tokens")
        if cut.query_tokens:
            notes.append(f"queries cut at {cut.query_tokens} tokens")
        if notes:
            lines.append(f"{row.system}: {'; '.join(notes)}.")
    return ["\n".join(lines), ""]


def _machine(result: Results) -> str:
    made = result.manifest
    return (
        f"{made.machine.processor}, {made.machine.n_cores} cores, Python {made.machine.python}, "
        f"lsr {made.lsr_version} at {(made.commit or 'no checkout')[:10]}, {made.created[:10]}"
    )
