"""Training examples of any published form to the JSON lines that training reads.

Three forms: ``pairs`` (``query, positive, source``: one line a positive), ``examples`` (``query,
positives, negatives, scores, source``) and ``scores`` (``query, passages, scores``: what a teacher
of kind ``scores`` takes).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from lsr.core.errors import ArgumentError, DataError, near_names
from lsr.core.files import create_text
from lsr.data.bad_lines import BadLines
from lsr.data.base import Dataset
from lsr.data.examples import (
    Example,
    IdExample,
    read_examples,
    read_hard_negatives,
    read_id_triples,
    read_scored_lists,
    read_text_triples,
    split_examples,
)
from lsr.data.lookup import DocumentTexts, resolve_examples

__all__ = ["FORMS", "KINDS", "Form", "Kind", "open_examples", "require_choice", "write_examples"]

Kind = Literal[
    "judgements", "texts", "text-triples", "id-triples", "scored-lists", "hard-negatives"
]
KINDS: tuple[str, ...] = get_args(Kind)
Form = Literal["pairs", "examples", "scores"]
FORMS: tuple[str, ...] = get_args(Form)


def require_choice(name: str, known: Collection[str], what: str) -> str:
    """Return `name` if it is one of `known`.

    Raises
    ------
    ArgumentError
        If it is not.
    """
    if name not in known:
        raise ArgumentError(
            f"Unknown {what} {name!r}; known are {', '.join(known)}.{near_names(name, known)}"
        )
    return name


def open_examples(
    kind: str,
    *,
    path: Path | None = None,
    dataset: Dataset | None = None,
    split: str = "train",
    systems: Collection[str] | None = None,
    n_negatives: int | None = None,
    skip_missing: bool = False,
    bad: BadLines | None = None,
) -> Iterator[Example]:
    """Yield the examples of a file, of a data set's judgements, or of both together, as texts.

    Parameters
    ----------
    kind : Kind
        ``judgements`` of a data set's split; ``texts`` (JSON lines) and ``text-triples`` (tabs)
        of a file; ``id-triples``, ``scored-lists`` and ``hard-negatives`` of a file that names
        queries and documents of `dataset` by id.
    path : Path, optional
        The file; for ``judgements`` there is none.
    dataset : Dataset, optional
        Where the ids lead.
    split : str
        For ``judgements``.
    systems, n_negatives
        For ``hard-negatives``, see `read_hard_negatives`.
    skip_missing : bool
        See `resolve_examples`.
    bad : BadLines, optional
        The budget of bad lines; none are tolerated by default.

    Raises
    ------
    ArgumentError
        If the kind is unknown, or its file or data set is not given.
    DataError, RecordError
        As the readers.
    """
    require_choice(kind, KINDS, "kind of examples")
    if kind == "judgements":
        if dataset is None:
            raise ArgumentError("Examples from judgements need a data set.")
        yield from _resolved(split_examples(dataset, split), dataset, skip_missing)
        return
    if path is None:
        raise ArgumentError(f"Examples of kind {kind!r} need a file.")
    if kind == "texts":
        yield from read_examples(path, bad=bad)
    elif kind == "text-triples":
        yield from read_text_triples(path, bad=bad)
    else:
        if dataset is None:
            raise ArgumentError(f"Examples of kind {kind!r} name documents by id: of a data set.")
        if kind == "id-triples":
            ids = read_id_triples(path, bad=bad)
        elif kind == "scored-lists":
            ids = read_scored_lists(path, bad=bad)
        else:
            ids = read_hard_negatives(path, systems=systems, n_negatives=n_negatives, bad=bad)
        yield from _resolved(ids, dataset, skip_missing)


def _resolved(
    examples: Iterable[IdExample], dataset: Dataset, skip_missing: bool
) -> Iterator[Example]:
    with DocumentTexts(dataset) as texts:
        yield from resolve_examples(examples, dataset, texts, skip_missing=skip_missing)


def write_examples(examples: Iterable[Example], path: Path, form: str) -> dict[str, int]:
    """Write examples as JSON lines and return how many, and of how many passages.

    Parameters
    ----------
    examples : iterable of Example
        Such as of `open_examples`.
    path : Path
        The file; ``.gz`` and ``.zst`` compress. It appears when it is complete.
    form : Form
        What a line holds.

    Returns
    -------
    dict
        ``n_examples``, ``n_lines``, ``n_positives``, ``n_negatives``.

    Raises
    ------
    ArgumentError
        If the form is unknown.
    DataError
        If ``scores`` are asked for and an example has none, or there is no example at all.
    """
    require_choice(form, FORMS, "form")
    counts = {"n_examples": 0, "n_lines": 0, "n_positives": 0, "n_negatives": 0}
    with create_text(path) as stream:
        for example in examples:
            counts["n_examples"] += 1
            counts["n_positives"] += len(example.positives)
            counts["n_negatives"] += len(example.negatives)
            for record in _records(example, form):
                counts["n_lines"] += 1
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        if not counts["n_lines"]:
            raise DataError("There is no training example.", hint="Check the source and the split.")
    return counts


def _records(example: Example, form: str) -> Iterator[dict[str, Any]]:
    if form == "pairs":
        for positive in example.positives:
            yield {"query": example.query, "positive": positive, "source": example.source}
        return
    if form == "scores":
        if example.scores is None:
            raise DataError(f"The example of the query {example.query!r:.60} has no scores.")
        passages = [*example.positives, *example.negatives]
        yield {"query": example.query, "passages": passages, "scores": list(example.scores)}
        return
    record: dict[str, Any] = {
        "query": example.query,
        "positives": list(example.positives),
        "negatives": list(example.negatives),
        "source": example.source,
    }
    if example.scores is not None:
        record["scores"] = list(example.scores)
    yield record
