"""Training pairs of sentences, for the recipe ``lsr-mini-4``: a claim, and its abstract.

::

    python benchmarks/sentence_pairs.py TRAIN ENWIKI OUT.jsonl --exclude exclude_enwiki_ids.txt

The pairs of `TRAIN` are mostly titles and headings of computer science and of the encyclopaedia,
and their passages have no title. This adds what searching scientific abstracts looks like, from
texts that are there: one sentence asks for the rest of its text (inverse cloze; Lee, Chang,
Toutanova, ACL 2019, section 4).

- ``bioasq_related``: a sentence of one snippet of a BioASQ question asks for another of its
  snippets.
- ``bio_sentences``: sentences of MedQuAD answers, COVID-QA windows and BioASQ snippets.
- ``titled_sentences``: a late sentence of an arXiv or conference abstract; the title stands before
  the rest.
- ``wiki_bio_sentences``: sentences of 366 biomedical articles of `ENWIKI`, the heading before the
  rest. ``biomedical_articles.tsv`` names them: those of which a linear classifier of words
  (MedQuAD, BioASQ and COVID-QA against the other sources) took at least a fifth of the passages.

``data.sentence_queries`` of a recipe makes such pairs too, one of each passage as it is; these have
titles, several sentences of a text, and sentences of another text on the same question. The same
input makes the same file.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from lsr.core.console import track
from lsr.core.files import open_text
from lsr.data.pairs import Pair, read_pairs

ARTICLES = Path(__file__).with_name("biomedical_articles.tsv")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\"])")
_MAX_WORDS = 190  # of the passages of a section that are put together


def sentences(text: str, least: int = 7, most: int = 45) -> tuple[list[str], list[int]]:
    """Return the sentences of a text and the positions of those with `least` to `most` words."""
    parts = _SENTENCE_END.split(text)
    return parts, [i for i, part in enumerate(parts) if least <= len(part.split()) <= most]


def without(parts: Sequence[str], position: int, title: str = "") -> str:
    """Return the text without one sentence, behind its title if it has one."""
    rest = " ".join([*parts[:position], *parts[position + 1 :]])
    return f"{title}. {rest}" if title else rest


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def pairs_of(train: Path, source: str) -> list[Pair]:
    return list(read_pairs([train / f"{source}.jsonl"]))


def related_snippets(train: Path, rng: random.Random) -> Iterator[Pair]:
    """Snippets of one question answer one another; long ones, their own sentences too."""
    snippets: dict[str, list[str]] = defaultdict(list)
    for pair in pairs_of(train, "bioasq_snippets"):
        snippets[pair.query].append(pair.positive)
    for _, texts in sorted(snippets.items()):
        texts = sorted(set(texts))
        both = [(a, b) for a in texts for b in texts if a != b]
        rng.shuffle(both)
        taken = 0
        for asking, answering in both:
            parts, usable = sentences(asking, 6, 40)
            if not usable or len(answering.split()) < 12:
                continue
            query = parts[rng.choice(usable)]
            shared = len(words(query) & words(answering))
            # Nearly the same sentence teaches nothing; nothing shared is another subject.
            if shared / len(words(query)) > 0.75 or shared < 2:
                continue
            yield Pair(query, answering, "bioasq_related")
            taken += 1
            if taken == 8:
                break
        for text in texts:
            parts, usable = sentences(text)
            if len(parts) >= 3 and usable:
                at = rng.choice(usable)
                yield Pair(parts[at], without(parts, at), "bio_sentences")


def own_sentences(train: Path, rng: random.Random) -> Iterator[Pair]:
    """Two sentences of each longer answer."""
    for source in ("medquad", "covid_qa"):
        for text in dict.fromkeys(pair.positive for pair in pairs_of(train, source)):
            parts, usable = sentences(text)
            if len(parts) < 4:
                continue
            for at in rng.sample(usable, min(2, len(usable))):
                yield Pair(parts[at], without(parts, at), "bio_sentences")


def titled_sentences(train: Path, rng: random.Random) -> Iterator[Pair]:
    """Take a sentence of an abstract's second half, where its claims are."""
    for source, limit in (("arxiv_title_abstract", 16_000), ("paperlists_title_abstract", 12_000)):
        pairs = pairs_of(train, source)
        rng.shuffle(pairs)
        for pair in pairs[:limit]:
            parts, usable = sentences(pair.positive)
            usable = [i for i in usable if i >= len(parts) // 2]
            if len(parts) < 4 or not usable:
                continue
            at = rng.choice(usable)
            yield Pair(parts[at], without(parts, at, pair.query.rstrip(".")), "titled_sentences")


def article_sentences(enwiki: Path, excluded: set[str], rng: random.Random) -> Iterator[Pair]:
    """Up to three sentences of each section, or part of one, of the chosen articles."""
    chosen = [line.split("\t")[0] for line in ARTICLES.read_text("utf-8").splitlines()]
    passages: dict[str, list[tuple[str, str]]] = {article: [] for article in chosen}
    with open_text(enwiki) as lines:
        for line in track(lines, "Passages", unit="passages"):
            record = json.loads(line)
            article = record["_id"].split("-")[0]
            if article in passages and record["_id"] not in excluded:
                passages[article].append((record["title"], record["text"]))
    rng.shuffle(chosen)
    for article in chosen:
        for title, text in sections(passages[article]):
            parts, usable = sentences(text)
            if len(parts) < 3:
                continue
            for at in rng.sample(usable, min(3, len(usable), len(parts) - 1)):
                yield Pair(parts[at], without(parts, at, title), "wiki_bio_sentences")


def sections(passages: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Put passages of one heading together, up to `_MAX_WORDS` words."""
    title, texts = "", list[str]()
    for heading, text in passages:
        full = sum(len(t.split()) for t in texts) + len(text.split()) > _MAX_WORDS
        if texts and (heading != title or full):
            yield title, " ".join(texts)
            texts = []
        title = heading
        texts.append(text)
    if texts:
        yield title, " ".join(texts)


def main() -> None:
    """Write the pairs, source by source."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("train", type=Path, help="folder of SOURCE.jsonl files")
    parser.add_argument("enwiki", type=Path, help="passages as JSON lines, may be .zst")
    parser.add_argument("out", type=Path)
    parser.add_argument("--exclude", type=Path, help="ids of passages, one a line, to leave out")
    args = parser.parse_args()
    excluded = set(args.exclude.read_text("utf-8").split()) if args.exclude else set[str]()
    rng = random.Random(11)
    by_source: dict[str, list[Pair]] = defaultdict(list)
    for made in (
        related_snippets(args.train, rng),
        own_sentences(args.train, rng),
        titled_sentences(args.train, rng),
        article_sentences(args.enwiki, excluded, rng),
    ):
        for pair in made:
            by_source[pair.source].append(pair)
    with args.out.open("w", encoding="utf-8") as file:
        for source, pairs in by_source.items():
            print(f"{source}: {len(pairs):,} pairs")
            for query, positive, _ in pairs:
                line = {"query": query.strip(), "positive": positive.strip(), "source": source}
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
