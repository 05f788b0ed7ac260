"""What happens before the ranking: masked-LM warm-up, and the sparse start.

A bare encoder gets a fresh head, which must first learn to name tokens. And a masked-LM's logits
are positive for half the vocabulary: without a shift of the output bias, training is spent on
getting from 16,000 active terms down to a few hundred.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.core.console import progress_bar
from lsr.core.errors import TrainingError
from lsr.encoders.torch_sides import MaskedLMSide
from lsr.training.checkpoint import load_checkpoint, save_checkpoint
from lsr.training.config import OptimizerConfig, TrainConfig
from lsr.training.distributed import Processes, sum_gradients
from lsr.training.optimization import (
    autocast,
    build_optimizer,
    clip_gradients,
    learning_rate_share,
    set_rates,
)
from lsr.training.projection import max_project
from lsr.training.tokens import DeviceTokens

__all__ = ["mask_tokens", "shift_bias", "step_seed", "warm_up"]

_BUCKETS = 8
_log = logging.getLogger(__name__)


def mask_tokens(
    ids: Tensor,
    mask: Tensor,
    *,
    share: float,
    special: dict[str, int],
    vocabulary_size: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the ids with some tokens hidden, and which are to be predicted (bool).

    Of the chosen tokens 80 % become the mask token, 10 % a random one, 10 % stay.

    References
    ----------
    Devlin et al.: BERT, NAACL 2019, section 3.1.
    """
    draw = torch.rand(ids.shape, generator=generator, device=ids.device)
    own = torch.tensor([special["cls"], special["sep"], special["pad"]], device=ids.device)
    chosen = (draw < share) & mask.bool() & ~torch.isin(ids, own)
    # One draw decides both: below 80 % of the share masked, the next 10 % random.
    random = torch.randint(vocabulary_size, ids.shape, generator=generator, device=ids.device)
    hidden = torch.where(chosen & (draw < 0.8 * share), special["mask"], ids)
    return torch.where(chosen & (draw >= 0.9 * share), random, hidden), chosen


def _rows(lengths: NDArray[np.int64], step: int, *, batch: int, seed: int) -> NDArray[np.int64]:
    """Return a step's passages: drawn in blocks, of which a step takes those of like length."""
    block, part = divmod(step, _BUCKETS)
    rng = np.random.default_rng([seed, 5, block])
    drawn = rng.integers(len(lengths), size=batch * _BUCKETS)
    order = drawn[np.argsort(lengths[drawn], kind="stable")].reshape(_BUCKETS, batch)
    rows: NDArray[np.int64] = order[rng.permutation(_BUCKETS)[part]]
    return rows


def warm_up(
    side: MaskedLMSide,
    tokens: DeviceTokens,
    config: TrainConfig,
    out: Path,
    *,
    special: dict[str, int],
    group: Processes,
    recipe_hash: str,
    log: Callable[[dict[str, Any]], None],
    deadline: float | None = None,
) -> bool:
    """Train the masked-LM on the passages; return whether it is done.

    Parameters
    ----------
    side : MaskedLMSide
        Trained in place.
    tokens : DeviceTokens
        The passages.
    config : TrainConfig
        Its `warmup` and `execution`.
    out : Path
        The checkpoint; a finished or half-done one there is resumed.
    deadline : float, optional
        ``time.monotonic()`` at which to save and stop.
    """
    warmup = config.warmup
    optimizer = build_optimizer(
        side, OptimizerConfig(learning_rate=warmup.learning_rate, betas=(0.9, 0.98))
    )
    step = 0
    if out.is_dir():
        state, _ = load_checkpoint(out, side, optimizer, recipe_hash=recipe_hash)
        step = int(state["step"])
        _log.info("Masked-LM warm-up goes on at step %d of %d", step, warmup.steps)
    side.train()

    def save() -> None:
        if group.first:
            save_checkpoint(out, side, optimizer, state={"step": step}, recipe_hash=recipe_hash)

    if warmup.batch_size % group.count:
        raise TrainingError(
            f"warmup.batch_size {warmup.batch_size} is not divisible by {group.count} processes."
        )
    total, n_tokens, began = torch.zeros((), device=group.device), 0, time.perf_counter()
    with progress_bar("masked-LM warm-up", total=warmup.steps, unit="steps") as advance:
        advance(step)
        while step < warmup.steps:
            rows = _rows(tokens.lengths, step, batch=warmup.batch_size, seed=config.seed)
            batch = tokens.batch(rows[group.share(len(rows))], warmup.max_tokens)
            generator = torch.Generator(device=group.device)
            generator.manual_seed(step_seed(config.seed, 6, step, group.rank))
            torch.manual_seed(step_seed(config.seed, 7, step, group.rank))
            ids, chosen = mask_tokens(
                batch.ids, batch.mask, share=warmup.mask_share, special=special,
                vocabulary_size=side.vocabulary_size, generator=generator,
            )  # fmt: skip
            set_rates(
                optimizer,
                learning_rate_share(
                    step, steps=warmup.steps, warmup_steps=warmup.warmup_steps, decay="linear"
                ),
            )
            optimizer.zero_grad(set_to_none=True)
            with autocast(config.execution.precision, group.device):
                states = side.hidden(ids, batch.mask)[chosen]
                logits = side.decoder(states)
            loss = F.cross_entropy(logits.float(), batch.ids[chosen])
            (loss / group.count).backward()
            sum_gradients(side.parameters(), group)
            clip_gradients(side.parameters(), 1.0)
            optimizer.step()
            step += 1
            total += loss.detach()
            n_tokens += batch.ids.numel()
            advance(1)
            if step % config.log_every == 0:
                seconds = time.perf_counter() - began
                mean = float(total) / config.log_every
                if not np.isfinite(mean):
                    raise TrainingError(
                        f"The masked-LM loss is {mean} at step {step}.",
                        hint="Lower warmup.learning_rate.",
                    )
                log({
                    "stage": "warmup", "step": step, "loss": round(mean, 4),
                    "steps_per_s": round(config.log_every / seconds, 2),
                    "tokens_per_s": round(n_tokens / seconds),
                })  # fmt: skip
                total.zero_()
                n_tokens, began = 0, time.perf_counter()
            if deadline is not None and time.monotonic() > deadline:
                break
    save()
    return step >= warmup.steps


def step_seed(*parts: int) -> int:
    """Return a seed that differs for every tuple of small numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def shift_bias(
    side: MaskedLMSide,
    tokens: DeviceTokens,
    *,
    start_terms: int,
    max_tokens: int,
    seed: int,
    n_documents: int = 256,
    max_bytes: int = 1 << 28,
) -> float:
    """Shift the output bias so that documents have about `start_terms` active terms; return it.

    The shift is the quantile of the max-pooled logits of `n_documents` passages.

    Raises
    ------
    TrainingError
        If the decoder has no bias.
    """
    bias = side.decoder.bias
    if not isinstance(bias, nn.Parameter):
        raise TrainingError("start_terms needs a masked-LM decoder with a bias.")
    rng = np.random.default_rng([seed, 8])
    n = min(n_documents, len(tokens.lengths))
    rows = rng.choice(len(tokens.lengths), size=n, replace=False)
    side.eval()
    peaks = []
    for part in np.array_split(rows, max(1, n // 32)):
        batch = tokens.batch(part, max_tokens)
        # max_project cuts at zero; far above it, nothing is cut.
        lifted = max_project(
            side.hidden(batch.ids, batch.mask).float(), side.decoder.weight, bias + 1e3,
            batch.mask, max_bytes=max_bytes,
        )  # fmt: skip
        peaks.append(lifted.cpu().numpy() - 1e3)
    flat = np.concatenate(peaks).reshape(-1)
    keep = min(start_terms * n, len(flat) - 1)
    threshold = float(np.partition(flat, len(flat) - keep)[len(flat) - keep])
    bias.sub_(threshold)
    side.train()
    _log.info("Sparse start: output bias shifted by %.2f for %d terms", -threshold, start_terms)
    return -threshold
