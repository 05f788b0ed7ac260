"""Documents a second and peak memory of a training step, against sentence-transformers.

The same masked LM, the same token lengths, the same batch, the same loss (contrastive over the
batch + FLOPS on both sides), each in a process of its own::

    python benchmarks/training_throughput.py MODEL_FOLDER --batch 32 --documents 2 --length 128

Ours runs `lsr.training.train.Trainer`; theirs sentence-transformers' `SparseEncoder` and
`SpladeLoss` in the loop that its trainer runs (forward, backward, clip, AdamW), without the trainer,
which needs the package datasets. The first steps are left out. On a GPU memory is what torch allocated at most, on a CPU the process's peak
less what it held before the first step.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORDS = [
    "river",
    "stone",
    "cloud",
    "tree",
    "house",
    "search",
    "index",
    "model",
    "weight",
    "document",
    "query",
    "vector",
    "term",
]


def texts(n: int, length: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=length)) for _ in range(n)]


def peak_memory(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def ours(args: argparse.Namespace, folder: Path) -> tuple[float, int]:
    import torch

    from lsr.training.config import TrainConfig
    from lsr.training.distributed import Processes
    from lsr.training.pipeline import Pipeline
    from lsr.training.train import Trainer

    n = args.batch * (args.steps + 1)
    file = folder / "pairs.jsonl"
    queries, passages = texts(n, 12, 1), texts(n, args.length - 2, 2)
    with open(file, "w", encoding="utf-8") as out:
        out.writelines(
            json.dumps({"query": query, "positive": passage}) + "\n"
            for query, passage in zip(queries, passages, strict=True)
        )
    config = TrainConfig.model_validate(
        {
            "steps": args.steps,
            "batch_queries": args.batch,
            "documents_per_query": args.documents,
            "data": {
                "pairs": [str(file)],
                "max_document_tokens": args.length,
                "n_held_out": 0,
            },
            "model": {"backbone": args.model, "query": "mlm"},
            "document_regularizer": {"weight": 1e-4},
            "query_regularizer": {"weight": 1e-4},
            "execution": {"micro_documents": args.batch * args.documents},
        }
    )
    device = torch.device(args.device)
    pipeline = Pipeline(config, folder / "run", folder / "data", Processes(0, 1, device))
    pipeline.run(("tokenise",))
    pairs = pipeline.pairs()
    sampler = pipeline.sampler(pairs)
    trainer = Trainer(
        config, pipeline.network(pairs), pairs, sampler, pipeline.panel(pairs),
        group=pipeline.group, checkpoint=folder / "checkpoint", log=lambda record: None,
    )  # fmt: skip
    trainer.network.train()
    before = peak_memory(args.device) if args.device == "cpu" else 0
    began = 0.0
    for step in range(args.steps):
        if step == args.skip:
            began = time.perf_counter()
        float(trainer.train_step(sampler.rows(step))["loss"])
    return time.perf_counter() - began, peak_memory(args.device) - before


def theirs(args: argparse.Namespace, folder: Path) -> tuple[float, int]:
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.losses import (
        SparseMultipleNegativesRankingLoss,
        SpladeLoss,
    )

    model = SparseEncoder(args.model, device=args.device)
    model.max_seq_length = args.length
    loss = SpladeLoss(
        model,
        SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=1e-4,
        query_regularizer_weight=1e-4,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=args.device == "cuda")
    n = args.batch * args.steps
    columns = [texts(n, 12, 1)]
    columns += [texts(n, args.length - 2, 2 + number) for number in range(args.documents)]
    model.train()
    before = peak_memory(args.device) if args.device == "cpu" else 0
    began = 0.0
    for step in range(args.steps):
        if step == args.skip:
            began = time.perf_counter()
        part = slice(step * args.batch, (step + 1) * args.batch)
        features = [
            {
                k: v.to(args.device)
                for k, v in model.preprocess(column[part]).items()
                if hasattr(v, "to")
            }
            for column in columns
        ]
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.device == "cuda"):
            parts = loss(features, None)
        total = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total.item()
    return time.perf_counter() - began, peak_memory(args.device) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--documents", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--skip", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["ours", "theirs"])
    args = parser.parse_args()
    if args.only:
        with tempfile.TemporaryDirectory() as folder:
            seconds, memory = {"ours": ours, "theirs": theirs}[args.only](args, Path(folder))
        n = args.batch * args.documents * (args.steps - args.skip)
        print(json.dumps({"documents_per_s": n / seconds, "peak_bytes": memory}))
        return
    results = {}
    for name in ("ours", "theirs"):
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[name] = json.loads(answer.strip().splitlines()[-1])
        print(name, json.dumps(results[name]))
    rate = results["ours"]["documents_per_s"] / results["theirs"]["documents_per_s"]
    memory = results["ours"]["peak_bytes"] / results["theirs"]["peak_bytes"]
    print(f"ours / theirs: {rate:.2f} x documents/s, {memory:.2f} x memory")


if __name__ == "__main__":
    main()
