"""Gives an encoded collection an inference-free query side: the idf of each token of its corpus.

    python benchmarks/idf_queries.py VECTORS CORPUS TOKENIZER OUT

CORPUS is the encoded JSON lines (``_id``, ``title``, ``text``), TOKENIZER the folder with the
``tokenizer.json`` of the encoder. OUT shows the vectors of VECTORS, by links, with the new query
side: what a service searches without running a model. A document encoder that was trained for such
queries ranks better; what a query costs is the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from lsr.core.records import Document
from lsr.data.vectors import QUERY_ENCODER_FOLDER, open_vectors
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.tokenization import TextTokenizer

BATCH = 5000


def contents(corpus: Path) -> Iterator[str]:
    """Yield what was encoded of each document."""
    with open(corpus, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            yield Document(record["_id"], record["text"], record.get("title", "")).content


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("vectors", "corpus", "tokenizer", "out"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    source = open_vectors(args.vectors)
    tokenizer = TextTokenizer.from_folder(args.tokenizer, size=source.vocabulary_size)
    df = np.zeros(source.vocabulary_size, dtype=np.int64)
    n_documents = 0
    texts = contents(args.corpus)
    while batch := list(islice(texts, BATCH)):
        for ids in tokenizer.encode(batch, max_length=512, special_tokens=False):
            df[np.unique(ids)] += 1
        n_documents += len(batch)
    idf = np.log1p((n_documents - df + 0.5) / (df + 0.5)).astype(np.float32)
    idf[df == 0] = 0
    idf[tokenizer.special_terms] = 0
    args.out.mkdir(parents=True)
    for file in args.vectors.iterdir():
        if file.name != QUERY_ENCODER_FOLDER:
            (args.out / file.name).symlink_to(file.resolve())
    LookupQueryEncoder(tokenizer, idf, name="idf").save_query_side(args.out / QUERY_ENCODER_FOLDER)


if __name__ == "__main__":
    main()
