"""Optimiser groups, learning-rate schedule, number format."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from torch import nn

from lsr.training.config import OptimizerConfig
from lsr.training.network import Network

__all__ = [
    "GradientWatch",
    "autocast",
    "build_optimizer",
    "clip_gradients",
    "learning_rate_share",
    "set_rates",
]


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of the forward passes: bf16 where asked for, or where it pays."""
    wanted = precision == "bf16" or (
        precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Return AdamW: matrices decay, vectors do not, tables of query weights have their own rate."""
    table: list[nn.Parameter] = []
    if isinstance(network, Network) and not network.shared:
        table = [p for n, p in network.query.named_parameters() if n in ("weight", "scalar")]
    if isinstance(network, Network) and network.lexical is not None:
        table += network.lexical.parameters()
    known = {id(p) for p in table}
    rest = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
        {
            "params": [p for p in table if p.requires_grad],
            "weight_decay": 0.0,
            "lr": config.query_weights_learning_rate,
        },
    ]
    on_gpu = any(p.is_cuda for p in rest)
    optimizer = torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.epsilon,
        fused=on_gpu,
    )
    for group in optimizer.param_groups:
        group["full_rate"] = group["lr"]
    return optimizer


def learning_rate_share(step: int, *, steps: int, warmup_steps: int, decay: str) -> float:
    """Return the share of the full learning rate at `step` (from 0) of `steps`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    if decay == "linear":
        return max(0.0, 1.0 - done)
    if decay == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return 1.0


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group's learning rate to `share` of its full one."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * share


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> torch.Tensor:
    """Scale the gradients to a norm of at most `limit`; return the norm before."""
    return torch.nn.utils.clip_grad_norm_(list(parameters), limit, foreach=None)


class GradientWatch:
    """Tells when the gradient norm leaves its usual range: a run that diverges without a NaN.

    Parameters
    ----------
    factor : float
        So many times the median of the last `window` norms is unusual. Of 18 runs kept here the
        sound ones stayed below 3.3, the one that was lost went from 1.1 to 12.
    window, least : int
        Norms that are remembered, and how many of them a judgement needs.
    """

    def __init__(self, factor: float = 4.0, window: int = 20, least: int = 10) -> None:
        self.factor = factor
        self.least = least
        self.norms: deque[float] = deque(maxlen=window)
        self.outside = False

    def observe(self, norm: float) -> float | None:
        """Take the mean norm of a logging step; return the usual one when it is first left."""
        if len(self.norms) >= self.least:
            usual = statistics.median(self.norms)
            if norm > self.factor * usual:
                new, self.outside = not self.outside, True
                return usual if new else None
        self.outside = False
        self.norms.append(norm)
        return None
