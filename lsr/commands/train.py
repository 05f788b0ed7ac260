"""``lsr train``: a recipe to a trained encoder."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.core.options import JsonOption, QuietOption, SetOption

if TYPE_CHECKING:
    from lsr.training.config import TrainConfig
    from lsr.training.network import Network

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Mount ``lsr train``."""
    app.command("train")(train)


def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file, or the name of a shipped recipe.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run's folder.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Folder of the prepared data, to share it [default: OUT/data]."
        ),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="STAGE",
            help="Only this stage, may be repeated: tokenise, lexical, teachers, negatives, warmup, "
            "train, save [default: all].",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.01, help="Save and stop after so long; run again."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu or cuda [default: cuda if there is one].")
    ] = None,
    evaluate: Annotated[
        list[str] | None,
        typer.Option(
            "--evaluate",
            metavar="DATASET",
            help="Score this collection every evaluate_every steps and at the end.",
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the log for TensorBoard too.")
    ] = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train an encoder: prepare the data, warm up, train, save.

    Every stage leaves a product on disk; run again, the command goes on where it stopped, and a
    killed training reaches the same figures as one that was not. On several GPUs start it with
    `torchrun --nproc-per-node N -m lsr.training` and the same arguments.

    Example: `lsr train lsr-tiny --out runs/tiny --set model.backbone=models/splade-tiny`
    """
    from lsr.core import console
    from lsr.core.config import config_hash, load_config
    from lsr.core.errors import MissingDependencyError
    from lsr.training.config import TrainConfig
    from lsr.training.recipe_files import find_recipe

    console.configure(quiet=quiet, json_output=as_json)
    config = load_config(TrainConfig, find_recipe(recipe), overrides or ())
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise MissingDependencyError(package, extra="train", purpose="Training")
    from lsr.training.distributed import processes
    from lsr.training.pipeline import STAGES, Pipeline

    with processes(device) as group:
        pipeline = Pipeline(
            config, out, data or out / "data", group, tensorboard=tensorboard and group.first
        )
        if evaluate:
            pipeline.evaluate = _evaluator(evaluate, pipeline.config, str(group.device))
        finished = pipeline.run(tuple(stage) if stage else STAGES, minutes=minutes)
        if group.first:
            result = {
                "recipe": config.name,
                "recipe_hash": config_hash(config),
                "out": str(out),
                "finished": finished,
                "last": pipeline.last_record,
            }
            console.emit(result, lambda: typer.echo(_story(result)))


def _evaluator(
    names: list[str], config: TrainConfig, device: str
) -> Callable[[Network], dict[str, float]]:
    """Return a function from the network to nDCG@10 and sparsity on each collection."""
    from eval.evaluate import EvalConfig
    from eval.evaluate import evaluate as run_evaluation
    from lsr.data import load_dataset
    from lsr.training.export import build_encoder

    datasets = [load_dataset(name) for name in names]

    def figures(network: Network) -> dict[str, float]:
        encoder = build_encoder(network, config, device=device)
        found: dict[str, float] = {}
        for dataset in datasets:
            results = run_evaluation(encoder, dataset, EvalConfig(measures=("nDCG@10", "R@100")))
            found |= {f"{dataset.name}/{name}": v for name, v in results.measures.items()}
            sparsity = results.efficiency.sparsity
            if sparsity is not None:
                found[f"{dataset.name}/doc_terms"] = sparsity.terms_per_document
                found[f"{dataset.name}/flops"] = sparsity.flops
        return found

    return figures


def _story(result: dict[str, object]) -> str:
    state = "finished" if result["finished"] else "stopped for time; run it again to go on"
    return f"{result['recipe']}: {state}. Everything is in {result['out']}."
