"""Documents a second and peak memory of a training step, against sentence-transformers.

The same masked LM, the same token lengths, the same batch, the same loss (contrastive over the
batch + FLOPS on both sides), each in a process of its own::

    python benchmarks/training_throughput.py MODEL_FOLDER --batch 32 --documents 2 --length 128

Ours runs `lsr.training.train.Trainer`; theirs `SparseEncoderTrainer` with `SpladeLoss`
(``pip install 'sentence-transformers[train]'``), its texts tokenised by `--workers` processes. Both
train in bf16 on a GPU. The first steps are left out. On a GPU memory is what torch allocated at
most, on a CPU the process's peak less what it held before the first step.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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


def synchronise(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


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
            synchronise(args.device)
            began = time.perf_counter()
        trainer.train_step(sampler.rows(step))
    synchronise(args.device)
    return time.perf_counter() - began, peak_memory(args.device) - before


def theirs(args: argparse.Namespace, folder: Path) -> tuple[float, int]:
    # Forked workers inherit the tokenizers' locks: with threads of their own they can wait for ever.
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if args.workers else "true"
    from datasets import Dataset
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder import (
        SparseEncoderTrainer,
        SparseEncoderTrainingArguments,
    )
    from sentence_transformers.sparse_encoder.losses import (
        SparseMultipleNegativesRankingLoss,
        SpladeLoss,
    )
    from transformers import TrainerCallback

    model = SparseEncoder(args.model, device=args.device)
    model.max_seq_length = args.length
    loss = SpladeLoss(
        model,
        SparseMultipleNegativesRankingLoss(model),
        document_regularizer_weight=1e-4,
        query_regularizer_weight=1e-4,
    )
    n = args.batch * args.steps
    columns = {"query": texts(n, 12, 1)}
    for number in range(args.documents):
        columns[f"document_{number}"] = texts(n, args.length - 2, 2 + number)

    class Clock(TrainerCallback):
        began = ended = before = 0.0

        def on_step_begin(self, arguments: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step == 0:
                self.before = peak_memory(args.device) if args.device == "cpu" else 0
            if state.global_step == args.skip:
                synchronise(args.device)
                self.began = time.perf_counter()

        def on_step_end(self, arguments: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step == args.steps:
                synchronise(args.device)
                self.ended = time.perf_counter()

    clock = Clock()
    arguments = SparseEncoderTrainingArguments(
        output_dir=str(folder / "out"), max_steps=args.steps, learning_rate=2e-5,
        per_device_train_batch_size=args.batch, bf16=args.device == "cuda",
        use_cpu=args.device == "cpu", dataloader_num_workers=args.workers, save_strategy="no",
        logging_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    SparseEncoderTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=loss,
        callbacks=[clock],
    ).train()  # fmt: skip
    return clock.ended - clock.began, int(peak_memory(args.device) - clock.before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--documents", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--skip", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="their tokenising processes")
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
