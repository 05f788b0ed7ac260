"""A collection to choose models on: the last sentence of a MEDLINE abstract asks for the abstract.

::

    python benchmarks/claims.py TRAIN/ohsumed_title_abstract.jsonl OUT
    lsr eval run OUT --encoder lsr-mini

7,399 documents, title and abstract without its last sentence where that can be a query, and 1,200
of those sentences. OHSUMED's terms keep it out of the training of a model that ships, so no recipe
here has seen it; it is near to SciFact, and large enough to tell models apart. Writes a BEIR
folder; the same input makes the same one.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from sentence_pairs import sentences

from lsr.data.pairs import read_pairs

N_QUERIES = 1_200


def main() -> None:
    """Write corpus, queries and judgements."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pairs", type=Path, help="title and abstract as query and positive")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    titles: dict[str, str] = {}
    for pair in read_pairs([args.pairs]):
        titles.setdefault(pair.positive.strip(), pair.query)
    documents, queries = [], []
    for n, (text, title) in enumerate(titles.items()):
        parts, usable = sentences(text, 8, 45)
        asks = len(parts) >= 4 and len(parts) - 1 in usable
        rest = " ".join(parts[:-1]) if asks else text
        documents.append({"_id": str(n), "title": title, "text": rest})
        if asks:
            queries.append((str(n), parts[-1]))
    random.Random(5).shuffle(queries)
    queries = sorted(queries[:N_QUERIES], key=lambda query: int(query[0]))
    (args.out / "qrels").mkdir(parents=True)
    write(args.out / "corpus.jsonl", [json.dumps(document) for document in documents])
    write(args.out / "queries.jsonl", [json.dumps({"_id": n, "text": q}) for n, q in queries])
    judged = [f"{n}\t{n}\t1" for n, _ in queries]
    write(args.out / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", *judged])
    print(f"{len(documents):,} documents, {len(queries):,} queries")


def write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
