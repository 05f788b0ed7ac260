"""Kill a writer with SIGKILL at random moments and compare what is left with what it acknowledged.

``python -m tests.helpers.crash_driver FOLDER --rounds 200 --seed 1`` prints one JSON line. A round:
a child opens the collection and writes, seals, merges, loads and copies at random, telling each step
before and after on a pipe; it is killed; the collection must then be the model of the acknowledged
steps, or that with the one step that was under way, whole. Every document, vector (sparse and
dense) and score counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from indexing.collection import Batch, Collection
from indexing.collection_config import CollectionConfig
from indexing.collection_copies import restore, snapshot, verify
from lsr.core.records import Document
from lsr.core.sparse import Float32Array, SparseVector
from lsr.core.vocabulary import Vocabulary
from tests.helpers.live_model import FIELDS, LiveModel, require_same

N_TERMS = 50
N_IDS = 120
WIDTH = 4
VOCABULARY = Vocabulary(f"t{n}" for n in range(N_TERMS))
CONFIG = CollectionConfig(seal_at=40, merge_factor=3, fields=FIELDS)
FILTERS: list[dict[str, Any]] = [
    {"equals": {"lang": "en"}},
    {"and": [{"range": {"year": {"gte": 1992}}}, {"not": {"equals": {"open": True}}}]},
]


def make(doc_id: str, revision: int) -> tuple[Document, SparseVector]:
    """Return what the document `doc_id` is in its `revision`."""
    rng = np.random.default_rng([int(doc_id.split("-")[1]), revision])
    terms = rng.choice(N_TERMS, int(rng.integers(0, 12)), replace=False)
    vector = SparseVector.from_arrays(terms, rng.integers(1, 64, len(terms)) / 4, N_TERMS)
    metadata = {"lang": str(rng.choice(["en", "de"])), "year": int(rng.integers(1990, 1996))}
    if revision % 3:
        metadata["open"] = bool(revision % 2)
    return Document(doc_id, f"{doc_id} in revision {revision} " * 5, "", metadata), vector


def make_dense(doc_id: str, revision: int) -> Float32Array:
    """Return its dense vector: of whole numbers, whose products are exact."""
    rng = np.random.default_rng([int(doc_id.split("-")[1]), revision, 1])
    return rng.integers(-8, 9, WIDTH).astype(np.float32)


def random_step(rng: random.Random, revision: int) -> dict[str, Any]:
    """Return the next step, as it goes through the pipe."""
    kind = rng.choices(
        ["upsert", "delete", "load", "seal", "merge", "snapshot", "reopen"],
        weights=[60, 20, 4, 6, 4, 2, 2],
    )[0]
    if kind in ("upsert", "load"):
        n = rng.choice([1, 1, 2, 10, 60])
        ids = rng.sample([f"d-{i}" for i in range(N_IDS)], n)
        return {"kind": kind, "ids": ids, "revision": revision}
    if kind == "delete":
        ids = rng.sample([f"d-{i}" for i in range(N_IDS)], rng.choice([1, 2, 30]))
        return {"kind": kind, "ids": ids}
    return {"kind": kind, "revision": revision}


def apply(step: dict[str, Any], model: LiveModel) -> LiveModel:
    """Return the model after a step."""
    made = model.copy()
    if step["kind"] in ("upsert", "load"):
        for doc_id in step["ids"]:
            revision = step["revision"]
            made.upsert(*make(doc_id, revision), make_dense(doc_id, revision))
    elif step["kind"] == "delete":
        for doc_id in step["ids"]:
            made.delete(doc_id)
    return made


def child(path: Path, seed: int, pipe: int) -> None:
    """Write until killed."""
    rng = random.Random(seed)
    collection = Collection.open(path, mode="w", background=seed % 2 == 0)
    revision = seed * 1000
    while True:
        revision += 1
        step = random_step(rng, revision)
        os.write(pipe, (json.dumps({"begin": step}) + "\n").encode())
        if step["kind"] in ("upsert", "load"):
            documents, vectors = zip(*(make(d, revision) for d in step["ids"]), strict=True)
            dense = [make_dense(d, revision) for d in step["ids"]]
            if step["kind"] == "upsert":
                collection.upsert(documents, vectors, dense=dense)
            else:
                collection.load([Batch(documents, vectors, dense=dense)])
        elif step["kind"] == "delete":
            collection.delete(step["ids"])
        elif step["kind"] == "seal":
            collection.seal()
        elif step["kind"] == "merge":
            collection.merge()
        elif step["kind"] == "snapshot":
            snapshot(path, path.parent / f"snapshot-{revision}")
        else:
            collection.close()
            collection = Collection.open(path, mode="w", background=seed % 2 == 0)
        os.write(pipe, (json.dumps({"done": step}) + "\n").encode())


def run_child(path: Path, seed: int, n_lines: int, delay_s: float) -> list[dict[str, Any]]:
    """Fork a writer, kill it `delay_s` after it told `n_lines`, return what it told.

    Counting lines, not seconds, keeps rounds alike on a machine that is busy with other things.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            child(path, seed, writing)
        finally:
            os._exit(1)
    os.close(writing)
    told = b""
    while told.count(b"\n") < n_lines and (chunk := os.read(reading, 1 << 16)):
        told += chunk
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the writer failed before it was killed"
    while chunk := os.read(reading, 1 << 16):
        told += chunk
    os.close(reading)
    lines = told.decode().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def settle(
    collection: Collection,
    models: list[LiveModel],
    queries: list[SparseVector],
    dense_queries: list[Float32Array],
) -> LiveModel:
    """Return the one of the possible models that the collection is, compared in full."""
    failures = []
    for model in models:
        try:
            require_same(collection, model, queries, filters=FILTERS, dense_queries=dense_queries)
        except (AssertionError, LookupError) as error:
            failures.append(str(error)[:300])
        else:
            return model
    raise AssertionError(f"the collection is none of {len(models)} possible states: {failures}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lines", type=int, default=60, help="The longest life of a writer.")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    path = args.folder / "live"
    Collection.create(
        path, VOCABULARY, config=CONFIG, encoder="test", idf="none", dense=WIDTH
    ).close()
    model = LiveModel()
    counts = {"rounds": 0, "acknowledged": 0, "cut_off": 0, "kept_whole": 0, "snapshots": 0}
    kinds: dict[str, int] = {}
    numbers = np.random.default_rng(args.seed)
    for number in range(args.rounds):
        n_lines = int(1 + rng.random() ** 2 * args.lines)
        told = run_child(path, args.seed * 10_000 + number, n_lines, rng.random() ** 4 * 0.05)
        before: dict[int, LiveModel] = {}
        pending: dict[str, Any] | None = None
        for line in told:
            if "begin" in line:
                pending = line["begin"]
                continue
            model = apply(line["done"], model)
            pending = None
            counts["acknowledged"] += 1
            if line["done"]["kind"] == "snapshot":
                before[line["done"]["revision"]] = model
        models = [model]
        if pending is not None:
            counts["cut_off"] += 1
            kinds[pending["kind"]] = kinds.get(pending["kind"], 0) + 1
            models.append(apply(pending, model))
        queries = [
            SparseVector.from_arrays(
                numbers.choice(N_TERMS, 6, replace=False), numbers.integers(1, 64, 6) / 4, N_TERMS
            )
            for _ in range(3)
        ]
        dense_queries = [numbers.integers(-8, 9, WIDTH).astype(np.float32) for _ in queries]
        # A reader, then a writer: both must cope with what the kill left.
        with Collection.open(path) as reader:
            settled = settle(reader, models, queries, dense_queries)
        counts["kept_whole"] += settled is not model
        model = settled
        if number % 5 == 0:
            problems = verify(path)
            assert not problems, problems
            with Collection.open(path, mode="w", background=False) as writer:
                require_same(writer, model, queries, filters=FILTERS, dense_queries=dense_queries)
        for revision, then in before.items():
            counts["snapshots"] += 1
            copy = args.folder / f"snapshot-{revision}"
            with restore(copy, args.folder / "restored") as restored:
                require_same(restored, then, queries[:1], dense_queries=dense_queries[:1])
            shutil.rmtree(args.folder / "restored")
        for leftover in args.folder.glob("*snapshot-*"):
            shutil.rmtree(leftover)
        counts["rounds"] += 1
    counts["documents"] = len(model.documents)
    json.dump({**counts, "cut_off_by_kind": kinds}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
