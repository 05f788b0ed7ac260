"""Make the shipped toy collection from a folder with SQuAD v1.1 dev in BEIR's layout.

    python benchmarks/make_toy.py ../shared/data/squad_dev lsr/data/toy

All paragraphs are kept, with a link to their article; of each article ten questions are drawn
(seeded), so that every article is judged and the whole stays below a megabyte.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path
from urllib.parse import quote

import zstandard

from lsr.data.beir import BeirDataset

QUESTIONS_PER_ARTICLE = 10
SEED = 11


def write_lines(path: Path, records: list[dict[str, object]]) -> None:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    # One frame at the highest level: it is written once and read many times.
    path.write_bytes(zstandard.ZstdCompressor(level=22).compress(text.encode("utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="squad_dev in BEIR's layout")
    parser.add_argument("target", type=Path, help="the folder to fill")
    arguments = parser.parse_args()

    source = BeirDataset(arguments.source)
    documents = list(source.documents())
    title_of = {document.doc_id: document.title for document in documents}
    target_of = {qrel.query_id: qrel.doc_id for qrel in source.qrels("test")}
    by_article: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for query in source.queries("test"):
        text = query.text.strip()
        if len(text.split()) >= 6:
            by_article[title_of[target_of[query.query_id]]].append((query.query_id, text))

    rng = random.Random(SEED)
    chosen = [
        question
        for article in sorted(by_article)
        for question in sorted(rng.sample(by_article[article], QUESTIONS_PER_ARTICLE))
    ]

    arguments.target.mkdir(parents=True, exist_ok=True)
    (arguments.target / "qrels").mkdir(exist_ok=True)
    write_lines(
        arguments.target / "corpus.jsonl.zst",
        [
            {
                "_id": document.doc_id,
                "title": document.title,
                "text": document.text.strip(),
                "url": "https://en.wikipedia.org/wiki/" + quote(document.title.replace(" ", "_")),
                "paragraph": int(document.doc_id.rsplit("_", 1)[1]) + 1,
            }
            for document in documents
        ],
    )
    write_lines(
        arguments.target / "queries.jsonl.zst",
        [{"_id": query_id, "text": text} for query_id, text in chosen],
    )
    lines = ["query-id\tcorpus-id\tscore\n"]
    lines += [f"{query_id}\t{target_of[query_id]}\t1\n" for query_id, _ in chosen]
    (arguments.target / "qrels" / "test.tsv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
