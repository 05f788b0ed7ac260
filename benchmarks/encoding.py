"""Encoding rate and peak memory: lsr against sentence-transformers' ``SparseEncoder``.

Same model folder, texts, batch size, maximum length, threads and number format (float32). Each
side runs in a process of its own; *rate* is measured in alternating rounds, so that a busy
machine slows both alike, and *memory* is the peak of the process above what it held once the
model was loaded and one text encoded, with texts of exactly 256 tokens.

    python benchmarks/encoding.py MODEL CORPUS [--texts 256] [--batch-size 32] [--threads 1]

MODEL is a masked-LM folder, CORPUS a BEIR ``corpus.jsonl``. sentence-transformers is run twice:
as it stands, and with its ``splade_pooling_chunk_size``, its own way to save memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIDES = ("lsr", "sentence-transformers", "sentence-transformers, chunked")
CHUNK = 32


def texts_of(corpus: Path, n: int) -> list[str]:
    found: list[str] = []
    with open(corpus, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            found.append(f"{record.get('title') or ''} {record['text']}".strip())
            if len(found) == n:
                break
    return found


def encoder_of(side: str, model: str, max_length: int, batch_size: int) -> Any:
    """Return a function from texts to the number of weights that are not zero."""
    if side == "lsr":
        from lsr.encoders import load_encoder
        from lsr.encoders.batched import TextOptions

        encoder: Any = load_encoder(model, device="cpu", dtype="float32")
        encoder.options = TextOptions(max_length, max_length)
        return lambda texts: encoder.encode_documents(texts, batch_size=batch_size).nnz

    from sentence_transformers import SparseEncoder

    rival = SparseEncoder(model, device="cpu")
    rival.max_seq_length = max_length
    if side.endswith("chunked"):
        rival.splade_pooling_chunk_size = CHUNK
    return lambda texts: int(
        rival.encode_document(
            texts, batch_size=batch_size, show_progress_bar=False, save_to_cpu=True
        )
        .coalesce()
        .values()
        .numel()
    )


def peak_bytes() -> int:
    """Return the peak resident memory of this process since it was last reset."""
    with open("/proc/self/status", encoding="ascii") as lines:
        line = next(x for x in lines if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def resident_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as lines:
        line = next(x for x in lines if x.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def worker(side: str, args: argparse.Namespace) -> None:
    """Answer one JSON line for each command read from standard input."""
    import torch

    torch.set_num_threads(args.threads)
    encode = encoder_of(side, args.model, args.max_length, args.batch_size)
    texts = texts_of(args.corpus, args.texts)
    long_texts = ["retrieval " * args.max_length] * (2 * args.batch_size)
    encode(texts[: args.batch_size])
    print(json.dumps({"ready": side}), flush=True)
    for command in sys.stdin:
        if command.strip() == "rate":
            begun = time.perf_counter()
            nnz = encode(texts)
            answer: dict[str, Any] = {"seconds": time.perf_counter() - begun, "nnz": nnz}
        else:
            encode(long_texts[:1])
            before = resident_bytes()
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
            encode(long_texts)
            answer = {"before": before, "peak": peak_bytes() - before}
        print(json.dumps(answer), flush=True)


class Process:
    """A worker of one side, asked over pipes."""

    def __init__(self, side: str, arguments: list[str]) -> None:
        command = [sys.executable, "-W", "ignore", __file__, *arguments, "--worker", side]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self.read()

    def read(self) -> dict[str, Any]:
        """Return the worker's next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker died; run it alone with --worker to see why")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        """Return the answer to ``rate`` or ``memory``."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """Let the worker end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", choices=SIDES)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args)
        return
    processes = {side: Process(side, sys.argv[1:]) for side in SIDES}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    nnz: dict[str, int] = {}
    for _ in range(args.rounds):
        for side, process in processes.items():
            answer = process.ask("rate")
            seconds[side].append(answer["seconds"])
            nnz[side] = answer["nnz"]
    peaks = {side: process.ask("memory")["peak"] for side, process in processes.items()}
    for process in processes.values():
        process.close()
    result = {
        side: {
            "texts_per_s": args.texts / statistics.median(seconds[side]),
            "rate_of_lsr": statistics.median(
                other / mine for mine, other in zip(seconds["lsr"], seconds[side], strict=True)
            ),
            "peak_mib": peaks[side] / 2**20,
            "memory_of_lsr": peaks["lsr"] / peaks[side],
            "weights": nnz[side],
        }
        for side in SIDES
    }
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{'':32} texts/s   lsr is   peak MiB  lsr needs   weights")
    for side, row in result.items():
        print(
            f"{side:32} {row['texts_per_s']:7.1f} {row['rate_of_lsr']:7.2f} x {row['peak_mib']:9.1f}"
            f" {row['memory_of_lsr']:8.2f} x {row['weights']:9d}"
        )


if __name__ == "__main__":
    main()
