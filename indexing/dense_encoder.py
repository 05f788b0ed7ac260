"""Bi-encoders of the plain kind: one vector a text, for the dense half of a hybrid search.

Read with transformers alone from sentence-transformers folders: a transformer, mean or first-token
pooling, optional normalisation.

References
----------
Reimers & Gurevych, *Sentence-BERT*, EMNLP 2019.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol

import numpy as np

from lsr.core.errors import EncoderNotFoundError, MissingDependencyError, ModelFormatError
from lsr.core.sparse import Float32Array

__all__ = ["DenseEncoder", "DenseTextEncoder"]

Pooling = Literal["mean", "cls"]
_KEPT = (".json", ".safetensors", ".txt", ".model")


class DenseTextEncoder(Protocol):
    """What dense systems need of an encoder."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def fingerprint(self) -> str:
        """Hash over everything that decides its vectors."""

    @property
    def width(self) -> int:
        """How many numbers a vector has."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        advance: Callable[[int], None] | None = None,
    ) -> Float32Array:
        """Return one row a text, shape ``(n, width)``, in their order."""

    def save(self, path: Path) -> None:
        """Write what is needed to load it again into the new folder `path`."""


class DenseEncoder:
    """A bi-encoder with one model for queries and documents.

    Parameters
    ----------
    path : Path
        A sentence-transformers folder, or a plain transformers one (then: mean pooling,
        normalised, as most of these models are used).

    Raises
    ------
    EncoderNotFoundError
        If there is no such folder.
    ModelFormatError
        If it has modules that this class does not know.
    MissingDependencyError
        If torch or transformers is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "config.json").is_file():
            raise EncoderNotFoundError(
                f"No dense encoder at {self.path}: it has no config.json.", hint="Check the path."
            )
        self.pooling, self.normalise = _read_modules(self.path)
        self._loading = Lock()
        self.max_tokens = int(
            _read_json(self.path / "sentence_bert_config.json").get("max_seq_length") or 512
        )

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the folder's model and tokenizer files."""
        digest = hashlib.sha256()
        for file in self._files():
            digest.update(file.relative_to(self.path).as_posix().encode())
            with open(file, "rb") as stream:
                while chunk := stream.read(1 << 22):
                    digest.update(chunk)
        return digest.hexdigest()

    @cached_property
    def width(self) -> int:
        """How many numbers a vector has."""
        config = _read_json(self.path / "config.json")
        # Families of models have a name each for it.
        for name in ("hidden_size", "d_model", "dim"):
            if isinstance(config.get(name), int):
                return int(config[name])
        raise ModelFormatError(f"{self.path / 'config.json'} does not say how wide the model is.")

    def _files(self) -> Iterator[Path]:
        for file in sorted(self.path.rglob("*")):
            if file.is_file() and file.suffix in _KEPT:
                yield file

    def save(self, path: Path) -> None:
        """Copy the model and tokenizer files into the new folder `path`."""
        for file in self._files():
            target = path / file.relative_to(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

    @property
    def _parts(self) -> tuple[Any, Any, Any]:
        # Not twice, should two threads ask at once.
        with self._loading:
            return self._loaded

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise MissingDependencyError(
                str(error.name), extra="models", purpose="A dense encoder"
            ) from None
        # Its own bar would show under --quiet and in pipes.
        transformers.utils.logging.disable_progress_bar()
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(self.path))
        model = transformers.AutoModel.from_pretrained(str(self.path), use_safetensors=True).eval()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch, tokenizer, model.to(device)

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 32,
        advance: Callable[[int], None] | None = None,
    ) -> Float32Array:
        """Return one float32 row a text, shape ``(n, width)``, in their order."""
        torch, tokenizer, model = self._parts
        rows: Float32Array = np.empty((len(texts), int(model.config.hidden_size)), dtype=np.float32)
        # Sorted by length, so that a batch is padded little; the order is restored by `rows[at]`.
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        for start in range(0, len(order), batch_size):
            at = order[start : start + batch_size]
            batch = tokenizer(
                [texts[i] for i in at],
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            ).to(model.device)
            with torch.inference_mode():
                states = model(**batch).last_hidden_state
                if self.pooling == "cls":
                    pooled = states[:, 0]
                else:
                    mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
                    pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
                if self.normalise:
                    pooled = torch.nn.functional.normalize(pooled, dim=1)
            rows[at] = pooled.float().cpu().numpy()
            if advance is not None:
                advance(len(at))
        return rows


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _read_modules(path: Path) -> tuple[Pooling, bool]:
    file = path / "modules.json"
    if not file.is_file():
        return "mean", True
    pooling: Pooling = "mean"
    normalise = False
    for module in json.loads(file.read_text(encoding="utf-8")):
        kind = str(module["type"]).rsplit(".", 1)[-1]
        if kind == "Normalize":
            normalise = True
        elif kind == "Pooling":
            config = _read_json(path / module["path"] / "config.json")
            # Older folders have one flag a mode, newer ones a name.
            chosen = (
                [config["pooling_mode"]]
                if "pooling_mode" in config
                else [
                    key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
                    for key, on in config.items()
                    if key.startswith("pooling_mode_") and on is True
                ]
            )
            if chosen == ["cls"]:
                pooling = "cls"
            elif chosen != ["mean"]:
                raise ModelFormatError(
                    f"{path} pools by {' and '.join(map(str, chosen)) or 'nothing known'}; "
                    "known are mean and cls."
                )
        elif kind != "Transformer":
            raise ModelFormatError(f"{path} has the module {kind!r}, which is not known here.")
    return pooling, normalise
