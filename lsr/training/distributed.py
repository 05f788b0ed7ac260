"""One process or many: vectors gathered, gradients summed.

Each process encodes its share of the batch. The vectors of all are gathered, every process
computes the same loss of the whole batch, and its gradient flows only into its own share; the
sum of the processes' gradients is then exactly the gradient one process would have. So nothing
of a recipe (λ, temperature, learning rate) depends on the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Processes", "gather", "processes", "sum_gradients"]


@dataclass(frozen=True)
class Processes:
    """One process among all.

    Attributes
    ----------
    rank, count : int
        Position, number.
    device : torch.device
        Where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes files and logs."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return this process's part of `n` queries; `n` must be divisible."""
        each = n // self.count
        return slice(self.rank * each, (self.rank + 1) * each)


@contextmanager
def processes(device: str | None = None) -> Iterator[Processes]:
    """Join the group that torchrun or accelerate started, if any, and leave it at the end.

    Parameters
    ----------
    device : str, optional
        ``"cpu"``, ``"cuda"``; CUDA where there is one otherwise.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, torch.device(kind))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), count, place)
    finally:
        dist.destroy_process_group()


def gather(vectors: Tensor, group: Processes) -> Tensor:
    """Return the rows of all processes in rank order; gradient flows into this one's rows only."""
    if group.count == 1:
        return vectors
    parts = [torch.empty_like(vectors) for _ in range(group.count)]
    dist.all_gather(parts, vectors.detach().contiguous())
    parts[group.rank] = vectors
    return torch.cat(parts)


def sum_gradients(parameters: Iterable[torch.nn.Parameter], group: Processes) -> None:
    """Replace every gradient by its sum over the processes."""
    if group.count == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in grads])
    dist.all_reduce(flat)
    at = 0
    for grad in grads:
        grad.copy_(flat[at : at + grad.numel()].view_as(grad))
        at += grad.numel()
