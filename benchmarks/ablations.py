"""What each part of a training recipe gives: the same budget, one thing changed, one table.

::

    python benchmarks/ablations.py OUT --models MODELS --collections scifact nfcorpus --parallel 4

Every arm is the base recipe with a few values changed (`ARMS`), trained for as many steps from the
same weights, on the same data, steered to the same number of terms a training document, in a
process of its own. Data, teachers and negatives are made once. nDCG@10 is zero-shot, exact search,
`NAME:SPLIT` for another split than test. Run again, it goes on: an arm that has its
``figures.json`` is not trained again. `base-seed-N` are the base with other seeds, which show how
much of a difference is chance.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from eval.measures import parse_measures
from lsr.core.console import progress_bar

MEASURE = "nDCG@10"

# Dotted names as in --set; None takes a value away.
Changes = Mapping[str, Any]
ARMS: dict[str, Changes] = {
    "base": {},
    "base-seed-1": {"seed": 1},
    "base-seed-2": {"seed": 2},
    "idf-flops": {"document_regularizer.kind": "idf-flops"},
    # Its sums are far smaller than those of FLOPS, so lambda must be far larger.
    "df-flops": {"document_regularizer.kind": "df-flops", "controller.max_weight": 1e5},
    "l0": {"document_regularizer.min_terms": 100},
    "no-idf": {
        "model.query": "binary",
        "model.train_query_weights": False,
        "model.query_term_frequency": "presence",
        "model.query_scale": 1.0,
    },
    "frozen-idf": {"model.train_query_weights": False},
    "siamese": {
        "model.query": "mlm",
        "model.query_term_frequency": "presence",
        "model.query_scale": 1.0,
        "model.saturation": "log1p",
        "query_regularizer": {"kind": "flops", "weight": 1e-2, "warmup_steps": 250},
    },
    "unicoil": {
        "model.query": "term-weight",
        "model.document": "term-weight",
        "model.query_term_frequency": "presence",
        "model.query_scale": 1.0,
        "start_terms": 0,
        "document_regularizer": None,
        "controller": None,
    },
    "mpnet only": {"teachers": ["mpnet"]},
    "minilm only": {"teachers": ["minilm"]},
    "splade-tiny only": {"teachers": ["splade-tiny"]},
    "bm25 only": {"teachers": ["bm25"]},
    "without bm25": {"teachers": ["mpnet", "minilm", "splade-tiny"]},
    "no teachers": {"losses": [{"kind": "info-nce"}]},
    "no negatives": {"negatives": None},
}


def _folder(arm: str) -> str:
    return arm.replace(" ", "-")


def recipe(args: argparse.Namespace, arm: str) -> dict[str, Any]:
    """Return the base recipe with an arm's changes."""
    from lsr.training.recipe_files import find_recipe

    values = tomllib.loads(find_recipe(args.recipe).read_text(encoding="utf-8"))
    steps = {
        "name": _folder(arm), "steps": args.steps, "checkpoint_every": args.steps,
        "evaluate_every": args.steps, "controller.ramp_steps": args.steps // 4,
        "controller.target_doc_terms": args.terms, "optimizer.warmup_steps": args.steps // 10,
        "data.pairs": [str(args.pairs)],
    }  # fmt: skip
    if args.models is not None:
        steps["models_folder"] = str(args.models)
    for name, value in {**steps, **copy.deepcopy(dict(ARMS[arm]))}.items():
        *path, last = name.split(".")
        table = values
        for key in path:
            table = table.setdefault(key, {})
        if last == "teachers":
            table[last] = [teacher for teacher in table[last] if teacher["name"] in value]
        elif value is None:
            table.pop(last, None)
        else:
            table[last] = value
    # The same hard negatives for every mixture of teachers: they were mined already.
    if values.get("negatives") and arm not in ("base", "no teachers"):
        values["negatives"]["teachers"] = [values["teachers"][0]["name"]]
    return values


def run_arm(args: argparse.Namespace, arm: str) -> None:
    """Train and evaluate one arm in this process."""
    from eval.evaluate import EvalConfig, evaluate
    from lsr.data import load_dataset
    from lsr.encoders import Encoder, load_encoder
    from lsr.training.config import TrainConfig
    from lsr.training.distributed import processes
    from lsr.training.logs import read_log
    from lsr.training.pipeline import Pipeline

    out = args.out / _folder(arm)
    with processes(args.device) as group:
        config = TrainConfig.model_validate(recipe(args, arm))
        pipeline = Pipeline(config, out, args.out / "data", group)
        prepare = ("tokenise", "teachers", "negatives")
        pipeline.run(prepare if args.prepare else ("train", "save"))
        device = str(group.device)
    if args.prepare:
        return
    trained = [record for record in read_log(out / "log.jsonl") if record["stage"] == "train"][-1]
    figures: dict[str, Any] = {key: trained[key] for key in ("doc_terms", "flops", "overlap")}
    encoder = load_encoder(out / "model", device=device, dtype="float32")
    assert isinstance(encoder, Encoder)
    for name in args.collections:
        collection, _, split = name.partition(":")
        measured = EvalConfig(split=split or "test", measures=(MEASURE,), k=100)
        results = evaluate(encoder, load_dataset(collection), measured)
        figures[Path(name).name] = results.measures[MEASURE]
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def table(args: argparse.Namespace, arms: list[str]) -> str:
    """Return all figures as a Markdown table."""
    names = [Path(name).name for name in args.collections]
    head = ["", "terms", "FLOPS", "expected matches", *names, "mean"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for arm in arms:
        figures = json.loads((args.out / _folder(arm) / "figures.json").read_text())
        scores = [figures[name] for name in names]
        cells = [arm, f"{figures['doc_terms']:.0f}", f"{figures['flops']:.2f}"]
        cells += [f"{figures['overlap']:.2f}", *(f"{score:.3f}" for score in scores)]
        cells.append(f"{sum(scores) / len(scores):.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", default="lsr-tiny")
    parser.add_argument("--models", type=Path, help="folder of the backbone and the teachers")
    parser.add_argument("--pairs", type=Path, default=Path("../shared/data/train.tar.zst"))
    parser.add_argument("--collections", nargs="+", required=True, metavar="NAME[:SPLIT]")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--terms", type=float, default=120.0, help="a training document")
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--device")
    parser.add_argument("--arm", choices=list(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm is not None:
        run_arm(args, args.arm)
        return
    parse_measures([MEASURE])  # before hours of training: is what computes it installed?
    command = [sys.executable, __file__, *sys.argv[1:], "--arm"]
    subprocess.run([*command, "base", "--prepare"], check=True)
    waiting = [a for a in args.arms if not (args.out / _folder(a) / "figures.json").exists()]

    def run(arm: str) -> tuple[str, int]:
        with open(args.out / f"{_folder(arm)}.log", "wb") as log:
            done = subprocess.run([*command, arm], stdout=log, stderr=log, check=False)
        return arm, done.returncode

    failed = []
    with (
        progress_bar("Arms", len(waiting), unit="arms") as advance,
        ThreadPoolExecutor(args.parallel) as workers,
    ):
        for job in as_completed([workers.submit(run, arm) for arm in waiting]):
            arm, code = job.result()
            if code:
                failed.append(arm)
            advance(1)
    print(table(args, [arm for arm in args.arms if arm not in failed]))
    if failed:
        sys.exit(f"Failed, see their .log in {args.out}: {', '.join(failed)}")


if __name__ == "__main__":
    main()
