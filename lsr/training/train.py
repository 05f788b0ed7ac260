"""The ranking stage, top to bottom: rows, vectors, loss, tax, step, log, checkpoint.

One step: the sampler names rows; every process encodes its share; the vectors are gathered; the
losses see the scores of all queries with all documents, the regularisers see all vectors; the
gradients are summed. Everything random is a function of (seed, step, rank), so a run that was
killed goes on exactly as it would have gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.console import progress_bar
from lsr.core.errors import ArgumentError, TrainingError
from lsr.training.batches import BatchRows, Sampler, TeacherPanel, prefetch
from lsr.training.checkpoint import load_checkpoint, save_checkpoint
from lsr.training.config import TrainConfig, recipe_hash
from lsr.training.distributed import Processes, gather, sum_gradients
from lsr.training.losses import Scores, build_losses
from lsr.training.network import Network, QuerySide, encode
from lsr.training.optimization import (
    GradientWatch,
    autocast,
    build_optimizer,
    clip_gradients,
    learning_rate_share,
    set_rates,
)
from lsr.training.pair_table import PairTable
from lsr.training.regularizers import (
    DFFlops,
    SparsityController,
    build_regularizer,
    quadratic_warmup,
)
from lsr.training.tokens import DeviceTokens, length_groups
from lsr.training.warmup import step_seed

__all__ = ["Trainer"]

_log = logging.getLogger(__name__)
_EMPTY_LOGS = 3


@dataclass
class _Encoded:
    """A side's vectors of this process, and how to bring gradients back where none was kept."""

    vectors: Tensor
    groups: list[NDArray[np.int64]]


class Trainer:
    """Trains a network by a recipe.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    network : Network
        On the group's device; trained in place.
    pairs : PairTable
        Training data.
    sampler : Sampler
        Draws the rows.
    teachers : TeacherPanel
        May be empty.
    group : Processes
        This process among all.
    checkpoint : Path
        Where the state is saved and found again.
    log : callable
        Gets one dictionary a logging step (first process only).
    evaluate : callable, optional
        Handed in from above: ``evaluate(network) -> dict`` of figures, called every
        `evaluate_every` steps and at the end.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: Network,
        pairs: PairTable,
        sampler: Sampler,
        teachers: TeacherPanel,
        *,
        group: Processes,
        checkpoint: Path,
        log: Callable[[dict[str, Any]], None],
        evaluate: Callable[[Network], dict[str, float]] | None = None,
    ) -> None:
        if config.batch_queries % group.count:
            raise ArgumentError(
                f"batch_queries {config.batch_queries} is not divisible by {group.count} processes."
            )
        self.config = config
        self.network = network
        self.sampler = sampler
        self.teachers = teachers
        self.group = group
        self.checkpoint = checkpoint
        self.log = log
        self.evaluate = evaluate
        self.hash = recipe_hash(config)
        self.optimizer = build_optimizer(network, config.optimizer)
        self.losses = build_losses(config.losses)
        self.passages = DeviceTokens(pairs.passages, pairs.special, group.device)
        self.queries = DeviceTokens(pairs.queries, pairs.special, group.device)
        self.held_out = np.asarray(pairs.held_out)[: config.batch_queries]
        idf = torch.from_numpy(pairs.idf())
        size = pairs.vocabulary_size
        self.document_tax = (
            build_regularizer(config.document_regularizer, idf=idf, vocabulary_size=size)
            if config.document_regularizer
            else None
        )
        self.query_tax = (
            build_regularizer(config.query_regularizer, idf=idf, vocabulary_size=size)
            if config.query_regularizer
            else None
        )
        self.controller = None
        if config.controller is not None and config.document_regularizer is not None:
            self.controller = SparsityController(
                config.controller, config.document_regularizer.weight
            )
        self.step = 0
        self.empty_logs = 0
        self.gradients = GradientWatch()
        # Figures summed since the last logged step; part of the state, so that a resumed run logs
        # what the uninterrupted one would have.
        self.sums: dict[str, Tensor] = {}
        self.summed = 0
        # Seen by the controller one step late, so that reading it does not stall the device.
        self.last_terms: Tensor | float | None = None
        self.alive = torch.zeros(size, dtype=torch.bool, device=group.device)

    # -- one step ----------------------------------------------------------------------------

    def _encode(self, kind: str, rows: NDArray[np.int64], *, grad: bool) -> _Encoded:
        """Encode this process's rows in groups of like length; order is restored."""
        tokens = self._side(kind)[1]
        groups = list(length_groups(tokens.lengths[rows], self.config.execution.micro_documents))
        with torch.set_grad_enabled(grad):
            parts = [self._encode_group(kind, rows[g], number) for number, g in enumerate(groups)]
            order = np.empty(len(rows), dtype=np.int64)
            order[np.concatenate(groups)] = np.arange(len(rows))
            back = torch.from_numpy(order).to(self.group.device)
            return _Encoded(torch.cat(parts)[back], groups)

    def _side(self, kind: str) -> tuple[QuerySide, DeviceTokens, int]:
        data = self.config.data
        if kind == "query":
            return self.network.query_side(), self.queries, data.max_query_tokens
        return self.network.document, self.passages, data.max_document_tokens

    def _encode_group(self, kind: str, rows: NDArray[np.int64], number: int) -> Tensor:
        side, tokens, limit = self._side(kind)
        # The second pass of gradient caching must meet the same dropout as the first.
        role = 10 if kind == "query" else 11
        torch.manual_seed(step_seed(self.config.seed, role, self.step, self.group.rank, number))
        batch = tokens.batch(rows, limit)
        with autocast(self.config.execution.precision, self.group.device):
            return encode(side, batch.ids, batch.mask, self.config.execution)

    def _forward(self, rows: BatchRows, q: Tensor, d: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and parts from this process's vectors."""
        queries, documents = gather(q, self.group), gather(d, self.group)
        # Only this process's queries carry gradient: the sum over the processes is the whole.
        lexical = self._lexical_queries(rows.queries[self.group.share(len(rows.queries))])
        if lexical is not None:
            lexical = gather(lexical, self.group)
        scores = self._scores(rows, queries, documents, lexical)
        loss, parts = self.losses(scores)
        if self.document_tax is not None:
            if isinstance(self.document_tax, DFFlops):
                self.document_tax.observe(documents)
            tax = self.document_tax(documents)
            loss = loss + self.document_weight() * tax
            parts[f"doc_{self.document_tax.name}"] = tax.detach()
        if self.query_tax is not None and self.config.query_regularizer is not None:
            tax = self.query_tax(queries)
            scale = quadratic_warmup(self.step, self.config.query_regularizer.warmup_steps)
            loss = loss + self.config.query_regularizer.weight * scale * tax
            parts[f"query_{self.query_tax.name}"] = tax.detach()
        with torch.no_grad():
            active = documents > 0
            self.alive |= active.any(dim=0)
            parts["doc_terms"] = active.sum(dim=1).float().mean()
            parts["empty_docs"] = (~active.any(dim=1)).float().mean()
            parts["query_terms"] = (queries > 0).sum(dim=1).float().mean()
            parts["flops"] = documents.mean(dim=0).square().sum()
            overlap = (queries > 0).float().mean(dim=0) * active.float().mean(dim=0)
            parts["overlap"] = overlap.sum()
            first = torch.arange(len(queries), device=queries.device) * self.sampler.group
            own = scores.own(scores.student)
            parts["first_of_own"] = (own.argmax(dim=1) == 0).float().mean()
            if scores.teacher is not None:
                agree = scores.student.argmax(dim=1) == scores.teacher.argmax(dim=1)
                parts["teacher_top"] = agree.float().mean()
            parts["first_of_batch"] = (scores.student.argmax(dim=1) == first).float().mean()
        return loss, parts

    def _lexical_queries(self, rows: NDArray[np.int64]) -> Tensor | None:
        part = self.network.lexical
        return None if part is None else part.queries(rows)

    def _scores(
        self, rows: BatchRows, queries: Tensor, documents: Tensor, lexical: Tensor | None
    ) -> Scores:
        """Return the scores of all vectors of a batch, the lexical part's share added."""
        student = queries @ documents.T
        if lexical is not None and self.network.lexical is not None:
            student = student + lexical @ self.network.lexical.documents(rows.documents).T
        return Scores(
            student,
            self.sampler.group,
            self.teachers.scores(rows) if self.teachers else None,
            torch.from_numpy(rows.positives).to(self.group.device),
        )

    def document_weight(self) -> float:
        """Return λ of the document regulariser at this step."""
        if self.controller is not None:
            return self.controller.weight
        regularizer = self.config.document_regularizer
        if regularizer is None:
            return 0.0
        return regularizer.weight * quadratic_warmup(self.step, regularizer.warmup_steps)

    def train_step(self, rows: BatchRows) -> dict[str, Tensor]:
        """Run one optimiser step on the rows of the whole batch; return its figures."""
        if self.controller is not None and self.last_terms is not None:
            self.controller.observe(float(self.last_terms))
        config = self.config
        share = self.group.share(len(rows.queries))
        mine_q = rows.queries[share]
        g = self.sampler.group
        mine_d = rows.documents[share.start * g : share.stop * g]
        optim = config.optimizer
        set_rates(
            self.optimizer,
            learning_rate_share(
                self.step, steps=config.steps, warmup_steps=optim.warmup_steps, decay=optim.decay
            ),
        )
        self.optimizer.zero_grad(set_to_none=True)
        cached = config.execution.cache_gradients
        q = self._encode("query", mine_q, grad=not cached)
        d = self._encode("document", mine_d, grad=not cached)
        if cached:
            q.vectors.requires_grad_()
            d.vectors.requires_grad_()
        loss, parts = self._forward(rows, q.vectors, d.vectors)
        loss.backward()
        if cached:
            self._backward_again("query", mine_q, q)
            self._backward_again("document", mine_d, d)
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        sum_gradients(parameters, self.group)
        parts["gradient_norm"] = clip_gradients(parameters, optim.max_gradient_norm)
        self.optimizer.step()
        parts["loss"] = loss.detach()
        self.last_terms = parts["doc_terms"]
        self.step += 1
        return parts

    def _backward_again(self, kind: str, rows: NDArray[np.int64], encoded: _Encoded) -> None:
        """Encode group by group with a graph, and feed it the cached gradient of its vectors."""
        grad = encoded.vectors.grad
        if grad is None:
            return
        for number, g in enumerate(encoded.groups):
            vectors = self._encode_group(kind, rows[g], number)
            if vectors.requires_grad:
                at = torch.from_numpy(g).to(grad.device)
                vectors.backward(grad[at])

    # -- the loop ----------------------------------------------------------------------------

    def run(self, *, deadline: float | None = None) -> bool:
        """Train from where it stands (`restore`) to the end; return whether the end was reached.

        Parameters
        ----------
        deadline : float, optional
            ``time.monotonic()`` at which to save and stop.

        Raises
        ------
        TrainingError
            If the loss is no number, or all documents are empty for some logging steps.
        """
        config = self.config
        self.network.train()
        n_tokens, began, since = 0, time.perf_counter(), self.step
        with progress_bar("training", total=config.steps, unit="steps") as advance:
            advance(self.step)
            for rows in prefetch(self.sampler.rows, self.step, config.steps):
                parts = self.train_step(rows)
                for name, value in parts.items():
                    seen = self.sums.get(name)
                    self.sums[name] = value.clone() if seen is None else seen + value
                self.summed += 1
                n_tokens += int(self.passages.lengths[rows.documents].sum())
                n_tokens += int(self.queries.lengths[rows.queries].sum())
                advance(1)
                last = self.step == config.steps
                if self.step % config.log_every == 0 or last:
                    self._report(n_tokens, time.perf_counter() - began, self.step - since)
                    n_tokens, began, since = 0, time.perf_counter(), self.step
                stop = deadline is not None and time.monotonic() > deadline
                if self.step % config.checkpoint_every == 0 or last or stop:
                    self.save()
                due = config.evaluate_every and self.step % config.evaluate_every == 0
                if due or last:
                    self._evaluate()
                if stop:
                    break
        return self.step >= config.steps

    def _report(self, n_tokens: int, seconds: float, steps: int) -> None:
        """Log the means since the last report; the rates are of this process's `steps`."""
        means = {name: float(value) / self.summed for name, value in self.sums.items()}
        self.sums, self.summed = {}, 0
        dead = 1.0 - float(self.alive.float().mean())
        self.alive.zero_()
        if not np.isfinite(means["loss"]):
            raise TrainingError(
                f"The loss is {means['loss']} at step {self.step}: {means}.",
                hint="Lower optimizer.learning_rate, or look for broken teacher scores.",
            )
        weight = self.document_weight()
        self.empty_logs = self.empty_logs + 1 if means["empty_docs"] > 0.99 else 0
        if self.empty_logs >= _EMPTY_LOGS:
            raise TrainingError(
                f"Every document is empty since {_EMPTY_LOGS} logging steps (step {self.step}, "
                f"document λ = {weight:.3g}).",
                hint="Lower document_regularizer.weight, lengthen its warmup_steps, or steer it "
                "with a controller.",
            )
        if not self.group.first:
            return
        usual = self.gradients.observe(means["gradient_norm"])
        if usual is not None:
            _log.warning(
                "Step %d: the gradient norm is %.3g where %.3g was usual; the run may diverge. "
                "If the loss does not come back, start again with a lower "
                "optimizer.learning_rate or teacher_scale.",
                self.step,
                means["gradient_norm"],
                usual,
            )
        record: dict[str, Any] = {"stage": "train", "step": self.step}
        record |= {name: float(f"{value:.5g}") for name, value in sorted(means.items())}
        record |= {
            "lambda_doc": float(f"{weight:.4g}"),
            "dead_terms": round(dead, 4),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "steps_per_s": round(steps / seconds, 2),
            "tokens_per_s": round(n_tokens / seconds),
        }
        if self.group.device.type == "cuda":
            record["peak_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        self.log(record)

    @torch.no_grad()
    def held_out_figures(self) -> dict[str, float]:
        """Return the losses and the accuracy on held-out pairs, which no step trains on."""
        if len(self.held_out) == 0:
            return {}
        rows = self.sampler.held_out(self.held_out)
        self.network.eval()
        q = self._encode("query", rows.queries, grad=False).vectors
        d = self._encode("document", rows.documents, grad=False).vectors
        scores = self._scores(rows, q, d, self._lexical_queries(rows.queries))
        loss, parts = self.losses(scores)
        first = torch.arange(len(q), device=q.device) * self.sampler.group
        self.network.train()
        figures = {f"held_out_{name}": float(value) for name, value in parts.items()}
        figures["held_out_loss"] = float(loss)
        top = (scores.student.argmax(dim=1) == first).float().mean()
        figures["held_out_first_of_batch"] = float(top)
        figures["held_out_doc_terms"] = float((d > 0).sum(dim=1).float().mean())
        return figures

    def _evaluate(self) -> None:
        if not self.group.first:
            return
        figures = self.held_out_figures()
        if self.evaluate is not None:
            self.network.eval()
            figures |= self.evaluate(self.network)
            self.network.train()
        self.log({"stage": "evaluate", "step": self.step, **figures})

    # -- state -------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint (first process only)."""
        if not self.group.first:
            return
        state: dict[str, Any] = {
            "step": self.step,
            "empty_logs": self.empty_logs,
            "summed": self.summed,
            "last_terms": None if self.last_terms is None else float(self.last_terms),
            "controller": self.controller.state() if self.controller else None,
        }
        tensors = {"alive": self.alive, **{f"sum.{k}": v for k, v in self.sums.items()}}
        if isinstance(self.document_tax, DFFlops):
            tensors |= {f"df_flops.{k}": v for k, v in self.document_tax.state.items()}
        save_checkpoint(
            self.checkpoint, self.network, self.optimizer,
            state=state, tensors=tensors, recipe_hash=self.hash,
        )  # fmt: skip

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises
        ------
        TrainingError
            If it belongs to another recipe.
        """
        if not self.checkpoint.is_dir():
            return
        state, tensors = load_checkpoint(
            self.checkpoint, self.network, self.optimizer, recipe_hash=self.hash
        )
        self.step = int(state["step"])
        self.empty_logs = int(state["empty_logs"])
        self.last_terms = state["last_terms"]
        self.summed = int(state["summed"])
        self.sums = {
            k.removeprefix("sum."): v.to(self.group.device)
            for k, v in tensors.items()
            if k.startswith("sum.")
        }
        self.alive.copy_(tensors["alive"])
        if self.controller is not None:
            self.controller.load_state(state["controller"])
        if isinstance(self.document_tax, DFFlops):
            for name in self.document_tax.state:
                self.document_tax.state[name] = tensors[f"df_flops.{name}"]
        _log.info("Training goes on at step %d of %d", self.step, self.config.steps)
