"""Results as text: one table a person reads, with what each row cost and how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from eval.figures import Figure
from eval.reproduce import Check
from eval.results import Results
from eval.running import Skipped
from eval.summary import Overview

__all__ = [
    "COST_COLUMNS",
    "cost_cells",
    "human_bytes",
    "machine_line",
    "markdown_report",
    "row_notes",
]

_RULES = (
    "- A judged query without results counts 0. Ties are ordered as trec_eval orders them. "
    "Times are those of one query on one thread after warm-up, median of several runs; at a load "
    "above 1 other work shared the processor."
)
COST_COLUMNS = (
    "terms/doc",
    "terms/query",
    "FLOPS",
    "recall@10",
    "µs mean",
    "µs p50",
    "µs p95",
    "µs p99",
    "µs encode",
    "queries/s",
    "index",
    "build s",
    "docs/s",
    "anonymous",
    "file-backed",
)


def markdown_report(
    results: Sequence[Results],
    *,
    title: str = "Evaluation",
    about: str = "",
    table: Overview | None = None,
    checks: Sequence[Check] = (),
    skipped: Sequence[Skipped] = (),
    figures: Sequence[Figure] = (),
    command: str = "",
) -> str:
    """Return a Markdown report: overview, one table a collection, notes, commands, machine.

    Parameters
    ----------
    results : sequence of Results
        Rows of the tables, in their order.
    title, about : str
        Of the report.
    table : Overview, optional
        Systems by collections, put first.
    checks, skipped
        Expected figures, and what could not be run.
    figures : sequence of Figure
        Files of their names stand beside the report.
    command : str
        Made the whole report; empty: each result has its own.
    """
    lines = [f"# {title}", ""]
    if about:
        lines += [about, ""]
    if table is not None and table.rows:
        lines += _overview(table)
    for figure in figures:
        lines += [f"![{figure.name}]({figure.name}.svg)", "", figure.caption, ""]
    if checks:
        lines += _checks(checks)
    for label in dict.fromkeys(result.label for result in results):
        rows = [result for result in results if result.label == label]
        lines += [f"## {label}", "", *_quality(rows), "", *_costs(rows)]
        lines += _notes(rows)
    if skipped:
        lines += ["## Not run here", ""]
        lines += [f"- {s.system} on {s.collection}: {s.reason}" for s in skipped]
        lines.append("")
    lines += ["## How it was made", ""]
    commands: dict[str, list[str]] = {command: []} if command else {}
    for result in results:
        if result.command and not command:
            commands.setdefault(result.command, []).append(f"{result.system} on {result.label}")
    for made, rows_made in commands.items():
        what = "everything" if len(commands) == 1 else ", ".join(rows_made)
        lines.append(f"- {what}: `{made}`")
    for machine in dict.fromkeys(machine_line(result) for result in results):
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
    encode, memory = cost.encode_query, cost.peak_memory
    return [
        f"{sparsity.terms_per_document:.1f}" if sparsity else "",
        f"{sparsity.terms_per_query:.1f}" if sparsity else "",
        f"{sparsity.flops:.2f}" if sparsity else "",
        f"{cost.recall_at_10:.4f}" if cost.recall_at_10 is not None else "",
        f"{search.mean_us:,.0f}" if search else "",
        f"{search.p50_us:,.0f}" if search else "",
        f"{search.p95_us:,.0f}" if search else "",
        f"{search.p99_us:,.0f}" if search else "",
        f"{encode.mean_us:,.0f}" if encode else "",
        f"{throughput.queries_per_s:,.0f}" if throughput else "",
        human_bytes(cost.total_index_bytes),
        f"{cost.build_s:.2f}" if cost.build_s is not None else "",
        f"{cost.encode_documents_per_s:,.0f}" if cost.encode_documents_per_s else "",
        human_bytes(memory.anonymous_bytes) if memory else "",
        human_bytes(memory.file_backed_bytes) if memory else "",
    ]


def _overview(table: Overview) -> list[str]:
    lines = [
        f"## Overview: {table.measure}",
        "",
        *_head(["system", *table.columns]),
    ]
    for system, cells in table.rows.items():
        shown = [f"**{cell.text}**" if cell.best else cell.text for cell in cells]
        lines.append("| " + " | ".join([system, *shown]) + " |")
    caption = (
        f"Bold: the best of the column. ▲ ▼: better or worse than {table.baseline}, Holm-corrected "
        "p < .05 in a paired test."
    )
    return [*lines, "", caption, ""]


def _checks(checks: Sequence[Check]) -> list[str]:
    lines = [
        "## Expected figures",
        "",
        "| collection | system | measure | expected | found | verdict | source |",
        "|---|---|---|---:|---:|---|---|",
    ]
    for c in checks:
        found = "" if c.found is None else f"{c.found:.4f}"
        lines.append(
            f"| {c.collection} | {c.system} | {c.measure} | {c.expected:.4f} ± {c.tolerance:g} "
            f"| {found} | {c.verdict} | {c.source} |"
        )
    return [*lines, ""]


def _quality(rows: Sequence[Results]) -> list[str]:
    measures = list(dict.fromkeys(name for row in rows for name in row.measures))
    lines = _head(["system", *measures])
    for row in rows:
        scores = [f"{row.measures[m]:.4f}" if m in row.measures else "" for m in measures]
        lines.append("| " + " | ".join([row.system, *scores]) + " |")
    return lines


def _costs(rows: Sequence[Results]) -> list[str]:
    """Return the table of what was measured, without empty rows or columns."""
    costs = [cost_cells(row) for row in rows]
    shown = [at for at in range(len(COST_COLUMNS)) if any(cost[at] for cost in costs)]
    if not shown:
        return []
    lines = _head(["system", *(COST_COLUMNS[at] for at in shown)])
    for row, cost in zip(rows, costs, strict=True):
        if any(cost):
            lines.append("| " + " | ".join([row.system, *(cost[at] for at in shown)]) + " |")
    return [*lines, ""]


def _head(columns: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]


def row_notes(result: Results) -> list[str]:
    """Return what a reader of a result must know: its notes and where texts were cut."""
    notes = list(result.notes)
    cut = result.truncation
    if cut.document_tokens:
        notes.append(f"documents cut at {cut.document_tokens} tokens")
    if cut.query_tokens:
        notes.append(f"queries cut at {cut.query_tokens} tokens")
    timed = result.efficiency.search
    if timed is not None and timed.load is not None:
        notes.append(f"timed at a load of {timed.load:g}")
    parts = result.efficiency.index_bytes or {}
    if len(parts) > 1:
        shown = ", ".join(f"{name} {human_bytes(count)}" for name, count in parts.items())
        notes.append(f"index: {shown}")
    return notes


def _notes(rows: Sequence[Results]) -> list[str]:
    lines = [f"{rows[0].n_queries:,} judged queries.", ""]
    lines += [f"- {row.system}: {'; '.join(notes)}." for row in rows if (notes := row_notes(row))]
    return [*lines, ""]


def machine_line(result: Results) -> str:
    """Return processor, versions, commit and date of a result in one line."""
    made = result.manifest
    return (
        f"{made.machine.processor}, {made.machine.n_cores} cores, Python {made.machine.python}, "
        f"lsr {made.lsr_version} at {(made.commit or 'no checkout')[:10]}, {made.created[:10]}"
    )
