"""Checkpoints: everything a run needs to go on as if it had never stopped.

Parameters and optimiser moments are safetensors, the rest is JSON; nothing is pickled. Random
numbers need no state: every draw is a function of the seed and the step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lsr.core.artifact import check_artifact, read_manifest, write_artifact
from lsr.core.errors import TrainingError
from lsr.core.manifest import Manifest

__all__ = ["load_checkpoint", "load_parameters", "save_checkpoint"]

_FORMAT = 1
_KIND = "training-checkpoint"


def save_checkpoint(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    state: dict[str, Any],
    tensors: dict[str, Tensor] | None = None,
    recipe_hash: str,
) -> None:
    """Write a checkpoint, replacing an older one at `path` atomically.

    Parameters
    ----------
    path : Path
        Its folder.
    module : nn.Module
        Whose parameters are saved, shared ones once.
    optimizer : Optimizer
        AdamW: two moments and a step count for each parameter.
    state : dict
        JSON values: step, controller, …
    tensors : dict of Tensor, optional
        Further state, such as document frequencies.
    recipe_hash : str
        A resume under another recipe is refused.
    """
    named = dict(module.named_parameters())
    moments: dict[str, Tensor] = {}
    for name, parameter in named.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            moments[f"{key}:{name}"] = torch.as_tensor(value)
    manifest = Manifest.new(_KIND, _FORMAT, details=state, config_hash=recipe_hash)
    with write_artifact(path, manifest, overwrite=True) as writer:
        _save({n: p.detach() for n, p in named.items()}, writer.path / "parameters.safetensors")
        _save(moments, writer.path / "optimizer.safetensors")
        _save(tensors or {}, writer.path / "tensors.safetensors")
        writer.text("state.json", json.dumps(state))


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    save_file({n: t.detach().contiguous().cpu() for n, t in tensors.items()}, file)


def load_parameters(path: Path, module: nn.Module) -> dict[str, Any]:
    """Copy a checkpoint's parameters into `module`; return its state.

    Raises
    ------
    ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
        If there is no usable checkpoint.
    TrainingError
        If its parameters are not the module's.
    """
    manifest = read_manifest(path, kind=_KIND, format_version=_FORMAT)
    check_artifact(path, manifest)
    saved = load_file(path / "parameters.safetensors")
    named = dict(module.named_parameters())
    wrong = sorted(
        n
        for n in saved.keys() | named.keys()
        if n not in saved or n not in named or saved[n].shape != named[n].shape
    )
    if wrong:
        raise TrainingError(
            f"The checkpoint {path} has other parameters than the model: {', '.join(wrong[:4])} …",
            hint="It was made by another recipe; choose another --out.",
        )
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(saved[name])
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return state


def load_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, *, recipe_hash: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Restore parameters and optimiser; return the state and the further tensors.

    Raises
    ------
    TrainingError
        If the checkpoint belongs to another recipe.
    """
    manifest = read_manifest(path, kind=_KIND, format_version=_FORMAT)
    if manifest.config_hash != recipe_hash:
        raise TrainingError(
            f"The checkpoint {path} was made with recipe {manifest.config_hash}, this is recipe "
            f"{recipe_hash}.",
            hint="Resume with the same recipe and --set values, or choose another --out.",
        )
    state = load_parameters(path, module)
    moments = load_file(path / "optimizer.safetensors")
    for name, parameter in module.named_parameters():
        own: dict[str, Tensor] = {}
        for key, value in moments.items():
            kind, _, target = key.partition(":")
            if target == name:
                # The step count stays on the CPU unless the optimiser is fused.
                fused = any(g.get("fused") for g in optimizer.param_groups)
                own[kind] = value.to(parameter.device) if kind != "step" or fused else value
        if own:
            optimizer.state[parameter] = own
    return state, load_file(path / "tensors.safetensors")
