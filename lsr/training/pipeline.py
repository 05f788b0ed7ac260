"""From a recipe to a model: the stages, each a product on disk that is not made twice.

::

    DATA/pairs/            tokenised pairs                      stage "tokenise"
    DATA/lexical/          their lexical vectors, if used       stage "lexical"
    DATA/teachers/NAME/    a teacher's vectors                  stage "teachers"
    DATA/negatives/        mined passages                       stage "negatives"
    OUT/warmup/            masked-LM checkpoint                 stage "warmup"
    OUT/checkpoint/        the ranking's checkpoint             stage "train"
    OUT/model/             the encoder                          stage "save"
    OUT/lexical/           its lexical channel, if it has one
    OUT/log.jsonl          one line a logging step

`DATA` is `OUT/data` unless it is named, so that recipes can share it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lsr.core.artifact import read_manifest
from lsr.core.config import Config
from lsr.core.errors import ArtifactExistsError, ConfigError, ModelFormatError
from lsr.encoders.torch_sides import MaskedLMSide
from lsr.training.batches import Sampler, TeacherPanel
from lsr.training.candidates import BM25Search, CandidateSearch, DenseSearch, SparseSearch
from lsr.training.checkpoint import load_parameters
from lsr.training.config import TrainConfig, recipe_hash
from lsr.training.distributed import Processes
from lsr.training.lexical_part import (
    LEXICAL_KIND,
    LexicalPart,
    LexicalTable,
    load_lexical,
    made_by,
    make_lexical_table,
)
from lsr.training.logs import forget_after, read_log, tensorboard_writer, write_json_line
from lsr.training.negatives import mine_negatives, open_negatives
from lsr.training.network import Network, build_network, model_folder
from lsr.training.pair_table import PairTable
from lsr.training.pairs import prepare_pairs
from lsr.training.teachers import DenseTable, SparseTable, embed_teacher, open_teacher
from lsr.training.tokens import DeviceTokens
from lsr.training.train import Trainer
from lsr.training.warmup import shift_bias, warm_up

__all__ = ["STAGES", "Pipeline"]

STAGES = ("tokenise", "lexical", "teachers", "negatives", "warmup", "train", "save")
_log = logging.getLogger(__name__)
# What changes where data lies or how often it is seen, not what the product holds.
_NOT_THE_PRODUCT = {"pairs", "source_weights", "weight", "model"}


@dataclass
class Pipeline:
    """Runs the stages of one recipe.

    Attributes
    ----------
    config : TrainConfig
        The recipe.
    out : Path
        The run's folder.
    data : Path
        Folder of the prepared data.
    group : Processes
        This process among all.
    evaluate : callable, optional
        See `Trainer`.
    tensorboard : bool
        Write the log as TensorBoard scalars too.
    last_record : dict
        What was logged last.
    """

    config: TrainConfig
    out: Path
    data: Path
    group: Processes
    evaluate: Callable[[Network], dict[str, float]] | None = None
    tensorboard: bool = False
    last_record: dict[str, Any] = field(default_factory=dict)
    _scalars: Callable[[dict[str, Any]], None] | None = None

    def __post_init__(self) -> None:
        self.config = self.config.with_found_models()

    def run(self, stages: tuple[str, ...] = STAGES, *, minutes: float | None = None) -> bool:
        """Run `stages` in order; return whether all of them were finished.

        Parameters
        ----------
        stages : tuple of str
            Some of `STAGES`.
        minutes : float, optional
            Save and stop after so long; run again to go on.

        Raises
        ------
        ConfigError
            For an unknown stage.
        """
        unknown = [s for s in stages if s not in STAGES]
        if unknown:
            raise ConfigError(f"Unknown stage {unknown[0]!r}.", hint=f"Stages: {', '.join(STAGES)}")
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.out.mkdir(parents=True, exist_ok=True)
        for stage in STAGES:
            if stage not in stages:
                continue
            began = time.perf_counter()
            done = getattr(self, f"_{stage}")(deadline)
            _log.info("Stage %s: %.1f s", stage, time.perf_counter() - began)
            if not done:
                _log.info("Time is up in stage %s; run the same command to go on.", stage)
                return False
        return True

    def log(self, record: dict[str, Any]) -> None:
        """Append to ``log.jsonl`` and tell the story on the logger."""
        if not self.group.first:
            return
        record = {**record, "time": round(time.time(), 1)}
        self.last_record = record
        write_json_line(self.out / "log.jsonl", record)
        if self.tensorboard:
            if self._scalars is None:
                self._scalars = tensorboard_writer(self.out / "tensorboard")
            self._scalars(record)
        shown = ("loss", "kl", "info_nce", "doc_terms", "query_terms", "flops", "lambda_doc",
                 "teacher_top", "first_of_own", "dead_terms", "steps_per_s", "tokens_per_s")  # fmt: skip
        story = " ".join(f"{k} {record[k]:.4g}" for k in shown if k in record)
        if record["stage"] == "evaluate":
            story = json.dumps({k: v for k, v in record.items() if k not in ("stage", "time")})
        _log.info("%s %s: %s", record["stage"], record.get("step", ""), story)

    # -- products ----------------------------------------------------------------------------

    def pairs(self) -> PairTable:
        """Return the tokenised pairs."""
        return PairTable.open(self.data / "pairs")

    def teacher_table(self, name: str) -> DenseTable | SparseTable:
        """Return a teacher's vectors."""
        return open_teacher(self.data / "teachers" / name)

    def _stands(self, path: Path, kind: str, made_by: Config) -> bool:
        """Return whether the product is there; one of another recipe is an error."""
        if not path.is_dir():
            return False
        config = made_by.model_dump(mode="json")
        # What an older release did not know yet had the value that is now the default.
        fields = type(made_by).model_fields.items()
        known = {
            n: f.get_default(call_default_factory=True) for n, f in fields if not f.is_required()
        }
        seen = {
            **type(made_by).model_construct(**known).model_dump(mode="json", warnings=False),
            **read_manifest(path, kind=kind, format_version=1).config,
        }
        other = sorted(
            key
            for key in seen.keys() | config.keys()
            if key not in _NOT_THE_PRODUCT and seen.get(key) != config.get(key)
        )
        if other:
            raise ArtifactExistsError(
                f"{path} was made with other values of {', '.join(other)}.",
                hint="Name another --data folder, or delete this product.",
            )
        _log.info("%s stands already", path)
        return True

    def _tokenise(self, deadline: float | None) -> bool:
        from tokenizers import Tokenizer

        path = self.data / "pairs"
        if self._stands(path, "training-pairs", self.config.data):
            return True
        tokenizer = Tokenizer.from_file(str(self._tokenizer_file()))
        prepare_pairs(path, self.config.data, tokenizer, seed=self.config.seed)
        return True

    def _tokenizer_file(self) -> Path:
        file = model_folder(self.config.model.backbone) / "tokenizer.json"
        if not file.is_file():
            raise ModelFormatError(
                f"{file.parent} has no tokenizer.json.", hint="Set model.backbone to a folder."
            )
        return file

    def _lexical(self, deadline: float | None) -> bool:
        if self.config.model.lexical is None:
            return True
        encoder = load_lexical(self.config.model.lexical)
        path = self.data / "lexical"
        if not self._stands(path, LEXICAL_KIND, made_by(encoder)):
            make_lexical_table(encoder, self.pairs(), self._tokenizer_file(), path)
        return True

    def _teachers(self, deadline: float | None) -> bool:
        pairs = self.pairs()
        for teacher in self.config.teachers:
            if teacher.kind not in ("dense", "sparse"):
                continue
            path = self.data / "teachers" / teacher.name
            if not self._stands(path, "training-teacher", teacher):
                embed_teacher(teacher, pairs, path, device=self.group.device)
        return True

    def _negatives(self, deadline: float | None) -> bool:
        config = self.config.negatives
        path = self.data / "negatives"
        if config is None or self._stands(path, "training-negatives", config):
            return True
        pairs = self.pairs()
        mine_negatives(config, pairs, [self._search(n, pairs) for n in config.teachers], path)
        return True

    def _search(self, name: str, pairs: PairTable) -> CandidateSearch:
        teacher = next(t for t in self.config.teachers if t.name == name)
        if teacher.kind == "bm25":
            return BM25Search(teacher, pairs)
        table = self.teacher_table(name)
        if isinstance(table, DenseTable):
            return DenseSearch(table, self.group.device)
        return SparseSearch(table)

    # -- network -----------------------------------------------------------------------------

    def network(self, pairs: PairTable) -> Network:
        """Return the untrained network on the device."""
        torch.manual_seed(self.config.seed)
        idf = torch.from_numpy(pairs.idf())
        network, fresh = build_network(
            self.config, idf=idf, special=pairs.special, lexical=self._lexical_part()
        )
        if fresh and self.config.warmup.steps == 0:
            _log.warning("The masked-LM head is fresh and there is no warm-up stage.")
        network.to(self.group.device)
        if self.config.execution.compile:
            for side in {network.document, network.query_side()}:
                model = getattr(side, "model", None)
                if isinstance(model, torch.nn.Module):
                    model.compile(dynamic=True)
        return network

    def _lexical_part(self) -> LexicalPart | None:
        model = self.config.model
        if model.lexical is None:
            return None
        weight = model.lexical_weight * torch.from_numpy(load_lexical(model.lexical).weights)
        table = LexicalTable(self.data / "lexical")
        return LexicalPart(table, weight, trainable=model.train_query_weights)

    def _warmup(self, deadline: float | None) -> bool:
        config = self.config
        if config.warmup.steps == 0 or config.model.document != "mlm":
            return True
        pairs = self.pairs()
        side = self.network(pairs).document
        if not isinstance(side, MaskedLMSide):
            return True
        tokens = DeviceTokens(pairs.passages, pairs.special, self.group.device)
        return warm_up(
            side, tokens, config, self.out / "warmup", special=pairs.special, group=self.group,
            recipe_hash=self._warmup_hash(), log=self.log, deadline=deadline,
        )  # fmt: skip

    def _warmup_hash(self) -> str:
        """Return the hash of what the warm-up depends on; the ranking may change afterwards."""
        plain = TrainConfig(
            seed=self.config.seed,
            warmup=self.config.warmup,
            model=self.config.model.model_copy(update={"query": "binary", "query_backbone": None}),
        )
        return recipe_hash(plain)

    def _train(self, deadline: float | None) -> bool:
        config = self.config
        pairs = self.pairs()
        network = self.network(pairs)
        side = network.document
        resumed = (self.out / "checkpoint").is_dir()
        if config.warmup.steps and isinstance(side, MaskedLMSide) and not resumed:
            load_parameters(self.out / "warmup", side)
        if config.start_terms and isinstance(side, MaskedLMSide) and not resumed:
            tokens = DeviceTokens(pairs.passages, pairs.special, self.group.device)
            shift_bias(
                side, tokens, start_terms=config.start_terms,
                max_tokens=config.data.max_document_tokens, seed=config.seed,
            )  # fmt: skip
        trainer = Trainer(
            config, network, pairs, self.sampler(pairs), self.panel(pairs), group=self.group,
            checkpoint=self.out / "checkpoint", log=self.log, evaluate=self.evaluate,
        )  # fmt: skip
        trainer.restore()
        if self.group.first:
            forget_after(self.out / "log.jsonl", stage="train", step=trainer.step)
        return trainer.run(deadline=deadline)

    def sampler(self, pairs: PairTable) -> Sampler:
        """Return the sampler of the recipe."""
        negatives: NDArray[np.int32] | None = None
        if self.config.negatives is not None:
            negatives = open_negatives(self.data / "negatives")
        return Sampler(pairs, negatives, self.config)

    def panel(self, pairs: PairTable) -> TeacherPanel:
        """Return the teachers of the recipe."""
        tables = {
            t.name: self.teacher_table(t.name)
            for t in self.config.teachers
            if t.kind in ("dense", "sparse")
        }
        return TeacherPanel(self.config, tables, pairs, self.group.device)

    def _logged(self) -> dict[str, Any]:
        """Return the last training and the last evaluation record of the log, as one."""
        last: dict[str, Any] = {}
        for record in read_log(self.out / "log.jsonl"):
            if record["stage"] != "warmup":
                last |= record
        return last

    def _save(self, deadline: float | None) -> bool:
        if not self.group.first:
            return True
        from lsr.training.export import save_lexical, save_model

        pairs = self.pairs()
        network = self.network(pairs)
        state = load_parameters(self.out / "checkpoint", network)
        save_model(
            network.cpu().eval(), self.config, pairs, self.out / "model",
            step=int(state["step"]), figures=self._logged(),
        )  # fmt: skip
        save_lexical(network, self.config, self.out / "lexical")
        return True
