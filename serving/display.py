"""Results on a terminal: ranked documents, the words that matched, a bar for every term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from lsr.core.records import Document
from lsr.core.vocabulary import Vocabulary
from serving.highlight import Highlight, ShownTerms
from serving.queries import QueryInput
from serving.results import Answer, Hit
from serving.schemas_search import ExplainedTerm, TermWeight

__all__ = ["passage", "show_answer", "show_terms", "words_of"]

_PASSAGE_CHARS = 240
_BAR_CELLS = 24
_MATCHED = "bold yellow"
_ADDED = "magenta"


def passage(text: str, spans: Sequence[tuple[int, int]], n_chars: int) -> tuple[int, int]:
    """Return start and end of the part of `text` that shows most of `spans`.

    Parameters
    ----------
    text : str
        A document's text.
    spans : sequence of (int, int)
        What should be seen, in reading order.
    n_chars : int
        About how long the part is; it begins and ends between words.
    """
    if len(text) <= n_chars:
        return 0, len(text)
    best = best_count = 0
    for at, (start, _) in enumerate(spans):
        count = sum(1 for _, end in spans[at:] if end <= start + n_chars)
        if count > best_count:
            best, best_count = start, count
    # A few words before the first match make it readable.
    start = max(0, min(best - n_chars // 6, len(text) - n_chars))
    if start:
        start = text.find(" ", start) + 1 or start
    end = min(len(text), start + n_chars)
    if end < len(text):
        end = max(text.rfind(" ", start, end), start + n_chars // 2)
    return start, end


def show_answer(
    answer: Answer, vocabulary: Vocabulary, *, in_query: ShownTerms, query: QueryInput
) -> None:
    """Print the results of a search; with a bar for every word where they are explained.

    Parameters
    ----------
    answer : Answer
    vocabulary : Vocabulary
        Of the index.
    in_query : dict of int to list of (int, int)
        The terms that the query shows, and where: those of one word share a bar.
    query : str or mapping
        What was asked.
    """
    console = Console(highlight=False)
    times = answer.times
    if not answer.hits:
        known = "no word that any document has" if not answer.query.nnz else "nothing"
        console.print(f"Nothing was found: the query has {known}.")
        return
    words = words_of(in_query, query, vocabulary) if isinstance(query, str) else {}
    for hit in answer.hits:
        console.print(_headline(hit))
        if hit.document is not None:
            console.print(_passage(hit, hit.document))
        if hit.explanation is not None:
            bars = _by_word(hit, words, in_query)
            for word, (value, added) in bars.items():
                console.print(_bar(word, value, next(iter(bars.values()))[0], added=added))
        console.print()
    console.print(
        f"[dim]encode {times.encode:.2f} ms · search {times.search:.2f} ms · "
        f"fetch {times.fetch:.2f} ms[/dim]"
    )


def words_of(shown: ShownTerms, text: str, vocabulary: Vocabulary) -> dict[int, str]:
    """Return the word of `text` that each of its terms is of: pieces and stems of one share it."""
    places = sorted((start, end, term) for term, where in shown.items() for start, end in where)
    words: dict[int, str] = {}
    of_word: list[int] = []
    low = high = 0
    for start, end, term in [*places, (len(text) + 1, len(text) + 1, -1)]:
        goes_on = term >= 0 and start == high and vocabulary.token(term).startswith("##")
        if of_word and not (start < high or goes_on):
            for other in of_word:
                words.setdefault(other, text[low:high].lower())
            of_word = []
        if not of_word:
            low = start
        high = max(high, end)
        of_word.append(term)
    return words


def _by_word(
    hit: Hit, words: Mapping[int, str], in_query: ShownTerms
) -> dict[str, tuple[float, bool]]:
    """Return each word's share of the score, and whether no text shows it; largest first."""
    bars: dict[str, tuple[float, bool]] = {}
    for line in hit.explanation.terms if hit.explanation is not None else ():
        added = line.term not in in_query or (hit.shown is not None and line.term not in hit.shown)
        word = words.get(line.term, line.token)
        value, other = bars.get(word, (0.0, True))
        bars[word] = value + line.contribution, added and other
    return dict(sorted(bars.items(), key=lambda item: -item[1][0]))


def _headline(hit: Hit) -> Text:
    line = Text(f"{hit.rank:2d}  ", style="dim")
    title = hit.document.title if hit.document is not None else ""
    line.append(title or hit.doc_id, style="bold")
    if title:
        line.append(f"  {hit.doc_id}", style="dim")
    line.append(f"  {hit.score:.3f}", style="cyan")
    if hit.parts is not None:
        for half, part in hit.parts._asdict().items():
            place = f"#{part.rank} ({part.score:.3f})" if part.rank else "not found"
            line.append(f"  {half} {place}", style="dim")
    return line


def _passage(hit: Hit, document: Document) -> Text:
    marks = [h for h in hit.highlights or () if h.field == "text"]
    text = document.text
    start, end = passage(text, [(h.start, h.end) for h in marks], _PASSAGE_CHARS)
    line = Text("    " + ("… " if start else ""))
    line.append(_marked(text, start, end, marks))
    if end < len(text):
        line.append(" …")
    line.overflow = "fold"
    return line


def _marked(text: str, start: int, end: int, marks: Sequence[Highlight]) -> Text:
    part = Text(text[start:end].replace("\n", " "))
    for mark in marks:
        if start <= mark.start and mark.end <= end:
            part.stylize(_MATCHED, mark.start - start, mark.end - start)
    return part


def _bar(token: str, value: float, largest: float, *, added: bool) -> Text:
    cells = max(1, round(_BAR_CELLS * value / largest))
    line = Text(f"      {token:>16.16} ")
    line.append("━" * cells, style=_ADDED if added else "yellow")
    line.append(" " * (_BAR_CELLS - cells) + f" {value:7.3f}")
    if added:
        line.append("  not in the text", style=f"dim {_ADDED}")
    return line


def show_terms(terms: Sequence[ExplainedTerm], missing: Sequence[TermWeight], score: float) -> None:
    """Print an explanation as a table that sums to the score."""
    console = Console(highlight=False)
    console.print(f"[bold]score {score:.4f}[/bold]")
    if terms:
        head = f"      {'token':>16} {'':{_BAR_CELLS}} {'share':>7}   query × document"
        console.print(f"[dim]{head}[/dim]")
    for term in terms:
        added = not term.in_query or term.in_document is False
        line = _bar(term.token, term.contribution, terms[0].contribution, added=False)
        line.append(f"   {term.query_weight:.3f} × {term.document_weight:.3f}")
        if added:
            where = "query" if not term.in_query else "document"
            line.append(f"  added to the {where}", style=f"dim {_ADDED}")
        console.print(line)
    if missing:
        absent = ", ".join(f"{term.token} ({term.weight:.2f})" for term in missing)
        console.print(f"[dim]The document lacks: {absent}[/dim]")
