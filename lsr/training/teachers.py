"""Teachers as tables on disk: computed once, resumable, read by row while training.

A dense teacher is one f16 row a passage and a query (unit length); a sparse teacher the heaviest
terms of each, in a fixed width. BM25 needs no table: its weights follow from the token ids of
the batch. The files grow in a hidden folder beside the artefact, together with a mark of how far
they are, so that an interrupted computation goes on where it stood.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.artifact import (
    check_artifact,
    open_array,
    read_manifest,
    write_artifact,
    write_text_atomic,
)
from lsr.core.config import config_hash
from lsr.core.console import progress_bar
from lsr.core.errors import ModelFormatError
from lsr.core.manifest import Manifest
from lsr.encoders.torch_sides import MaskedLMSide
from lsr.training.config import DenseTeacher, ExecutionConfig, SparseTeacher
from lsr.training.network import encode, load_masked_lm, model_folder
from lsr.training.pair_table import PairTable, special_ids
from lsr.training.tokens import DeviceTokens

__all__ = [
    "TEACHER_FORMAT",
    "DenseTable",
    "SparseTable",
    "bm25_weights",
    "embed_teacher",
    "normalised_mixture",
    "open_teacher",
    "term_counts",
]

TEACHER_FORMAT = 1
_KIND = "training-teacher"
_BATCH_TOKENS = 1 << 16
_SAVE_SECONDS = 20
_log = logging.getLogger(__name__)


class DenseTable:
    """A dense teacher's vectors.

    Attributes
    ----------
    passages, queries : float16, shape (n, dimension)
        Unit length.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.passages = open_array(path, "passages", manifest)
        self.queries = open_array(path, "queries", manifest)

    def side(self, name: str, rows: NDArray[Any], device: torch.device) -> Tensor:
        """Return the vectors of ``passages`` or ``queries`` at `rows`, f16 on `device`."""
        return torch.from_numpy(getattr(self, name)[rows]).to(device, non_blocking=True)


class SparseTable:
    """A sparse teacher's vectors in a fixed width; unused places have weight 0.

    Attributes
    ----------
    passages_terms, queries_terms : uint16 or int32, shape (n, width)
    passages_weights, queries_weights : float16, shape (n, width)
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        for name in ("passages_terms", "passages_weights", "queries_terms", "queries_weights"):
            setattr(self, name, open_array(path, name, manifest))
        self.size = int(manifest.details["vocabulary_size"])

    def side(self, name: str, rows: NDArray[Any], device: torch.device) -> Tensor:
        """Return the vectors of ``passages`` or ``queries`` at `rows`, f16 (n, vocabulary)."""
        terms = torch.from_numpy(getattr(self, f"{name}_terms")[rows].astype(np.int32))
        weights = torch.from_numpy(getattr(self, f"{name}_weights")[rows])
        out = torch.zeros(len(rows), self.size, dtype=torch.float16, device=device)
        # Unused places all point at term 0 with weight 0: adding them changes nothing.
        return out.scatter_add_(1, terms.to(device).long(), weights.to(device))


def open_teacher(path: Path) -> DenseTable | SparseTable:
    """Return the table at `path`.

    Raises
    ------
    ArtifactNotFoundError, ArtifactFormatError, ArtifactCorruptedError
        If it is not there, not of this format, or damaged.
    """
    manifest = read_manifest(path, kind=_KIND, format_version=TEACHER_FORMAT)
    check_artifact(path, manifest)
    sparse = manifest.details["form"] == "sparse"
    return SparseTable(path, manifest) if sparse else DenseTable(path, manifest)


def embed_teacher(
    config: DenseTeacher | SparseTeacher,
    pairs: PairTable,
    out: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
) -> DenseTable | SparseTable:
    """Encode every passage and query with a teacher; return the table.

    Parameters
    ----------
    config : DenseTeacher or SparseTeacher
        The model's folder, pooling, lengths.
    pairs : PairTable
        Whose passages and queries.
    out : Path
        The new artefact. An interrupted run goes on from ``.<name>.partial`` beside it.
    device : torch.device
        bf16 on CUDA, float32 elsewhere.
    overwrite : bool
        Replace what stands at `out`.

    Raises
    ------
    ModelFormatError
        If the teacher's tokenizer lacks tokens of the pairs' vocabulary.
    """
    encode, names, dimension = _encoder(config, pairs, device)
    mapping, special = token_mapping(model_folder(config.model), pairs)
    partial = out.with_name(f".{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    tables = {"passages": pairs.passages, "queries": pairs.queries}
    key = f"{config_hash(config)}-{pairs.manifest.created}"
    began = time.perf_counter()
    for side, table in tables.items():
        tokens = DeviceTokens(table, special, device, mapping=mapping)
        _fill(side, tokens, encode, names, dimension, partial, key, config.max_tokens)
    details = {
        "form": config.kind,
        "model": Path(config.model).name,
        "vocabulary_size": pairs.vocabulary_size,
        "pairs_created": pairs.manifest.created,
        "seconds": round(time.perf_counter() - began, 1),
    }
    manifest = Manifest.new(
        _KIND, TEACHER_FORMAT, details=details,
        config=config.model_dump(mode="json"), config_hash=config_hash(config),
    )  # fmt: skip
    with write_artifact(out, manifest, overwrite=overwrite) as writer:
        for file in partial.glob("*.npy"):
            file.rename(writer.path / file.name)
    for leftover in partial.iterdir():
        leftover.unlink()
    partial.rmdir()
    _log.info("Teacher %s: %.0f s, %s", config.name, details["seconds"], out)
    return open_teacher(out)


def _fill(
    side: str,
    tokens: DeviceTokens,
    encode: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    names: tuple[tuple[str, Any], ...],
    dimension: int,
    folder: Path,
    key: str,
    max_tokens: int,
) -> None:
    """Encode one side into ``<side><suffix>.npy``, longest texts first, going on if begun."""
    n = len(tokens.lengths)
    files = {suffix: folder / f"{side}{suffix}.npy" for suffix, _ in names}
    mark = folder / f"{side}.json"
    done = 0
    if mark.is_file() and all(f.is_file() for f in files.values()):
        state = json.loads(mark.read_text(encoding="utf-8"))
        done = int(state["done"]) if state["key"] == key else 0
    mode: Any = "r+" if done else "w+"
    arrays = [
        np.lib.format.open_memmap(files[s], mode=mode, dtype=np.dtype(d), shape=(n, dimension))
        for s, d in names
    ]
    order = np.argsort(-tokens.lengths, kind="stable")
    saved = time.monotonic()
    with progress_bar(f"{side}", total=n, unit="texts") as advance:
        advance(done)
        for rows in _token_batches(order, tokens.lengths, max_tokens, done):
            batch = tokens.batch(rows, max_tokens)
            for array, part in zip(arrays, encode(batch.ids, batch.mask), strict=True):
                array[rows] = part.cpu().numpy()
            done += len(rows)
            advance(len(rows))
            if time.monotonic() - saved > _SAVE_SECONDS:
                for array in arrays:
                    array.flush()
                write_text_atomic(mark, json.dumps({"key": key, "done": done}))
                saved = time.monotonic()
    for array in arrays:
        array.flush()
    write_text_atomic(mark, json.dumps({"key": key, "done": done}))


def _token_batches(
    order: NDArray[np.int64], lengths: NDArray[np.int64], max_tokens: int, done: int
) -> Iterator[NDArray[np.int64]]:
    at = done
    while at < len(order):
        width = min(int(lengths[order[at]]) + 2, max_tokens)
        size = max(1, _BATCH_TOKENS // max(width, 16))
        yield order[at : at + size]
        at += size


def token_mapping(model: Path, pairs: PairTable) -> tuple[NDArray[np.int64] | None, dict[str, int]]:
    """Return the teacher's id of each of our tokens (None: the same ids), and its specials."""
    from tokenizers import Tokenizer

    file = model / "tokenizer.json"
    if not file.is_file():
        raise ModelFormatError(f"{model} has no tokenizer.json.", hint="Save it as a fast one.")
    teacher = Tokenizer.from_file(str(file))
    special = special_ids(teacher)
    tokens: list[str] = json.loads((pairs.path / "tokens.json").read_text(encoding="utf-8"))
    theirs = teacher.get_vocab(with_added_tokens=True)
    ids = np.array([theirs.get(token, -1) for token in tokens], dtype=np.int64)
    for role, term in pairs.special.items():
        ids[term] = special[role]
    used = np.zeros(len(tokens), dtype=bool)
    for table in (pairs.passages, pairs.queries):
        used[np.unique(np.asarray(table.ids))] = True
    lacking = [tokens[t] for t in np.flatnonzero(used & (ids < 0))[:5]]
    if lacking:
        raise ModelFormatError(
            f"The teacher {model} does not know tokens of the training pairs: {lacking} …",
            hint="A teacher's table needs the backbone's vocabulary; otherwise score the "
            "candidates elsewhere and use a teacher of kind 'scores'.",
        )
    same = bool((ids == np.arange(len(tokens))).all())
    return (None if same else np.maximum(ids, 0)), special


def _encoder(
    config: DenseTeacher | SparseTeacher, pairs: PairTable, device: torch.device
) -> tuple[Callable[[Tensor, Tensor], tuple[Tensor, ...]], tuple[tuple[str, Any], ...], int]:
    """Return a function from ids and mask to table rows, the arrays it fills, their width."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    if config.kind == "dense":
        from lsr.encoders.hf_models import load_model

        model = load_model(model_folder(config.model), "none").to(device, dtype)

        @torch.inference_mode()
        def dense(ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            if config.pooling == "cls":
                pooled = hidden[:, 0]
            else:
                weights = mask[:, :, None].float()
                pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
            return (F.normalize(pooled, dim=1).half(),)

        return dense, (("", np.float16),), int(model.config.hidden_size)

    masked_lm, _ = load_masked_lm(config.model)
    side = MaskedLMSide(masked_lm).to(device).eval()
    execution = ExecutionConfig(projection_bytes=1 << 29)
    width = config.top_terms
    term_type = np.uint16 if pairs.vocabulary_size <= 1 << 16 else np.int32

    @torch.inference_mode()
    def sparse(ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            weights, terms = encode(side, ids, mask, execution).topk(width, dim=1)
        terms = torch.where(weights > 0, terms, 0)
        return terms.int(), weights.half()

    return sparse, (("_terms", term_type), ("_weights", np.float16)), width


def term_counts(ids: Tensor, mask: Tensor, *, size: int, special: list[int]) -> Tensor:
    """Return how often each term stands in each text, float32, shape (batch, vocabulary)."""
    counts = torch.zeros(len(ids), size, device=ids.device)
    counts.scatter_add_(1, ids, mask.float())
    counts[:, special] = 0.0
    return counts


def bm25_weights(tf: Tensor, *, k1: float, b: float, mean_length: float) -> Tensor:
    """Return BM25's document weights from term counts, same shape; idf stands in the query.

    tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / mean_length)).
    """
    length = tf.sum(dim=1, keepdim=True)
    return tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean_length))


def normalised_mixture(scores: list[tuple[float, Tensor]], scale: float) -> Tensor:
    """Return scale · Σ_k w_k (S_k − min) / (max − min + 1e-6), minima and maxima row by row.

    Parameters
    ----------
    scores : list of (weight, Tensor of shape (N, candidates))
        Raw scores of each teacher; the weights are divided by their sum.
    scale : float
        30 in the authors' code.

    References
    ----------
    Geng et al.: Towards Competitive Search Relevance For Inference-Free Learned Sparse
    Retrievers, 2024, equation 8.
    """
    total = sum(weight for weight, _ in scores)
    mixed = torch.zeros_like(scores[0][1], dtype=torch.float32)
    for weight, raw in scores:
        s = raw.float()
        low, high = s.amin(dim=1, keepdim=True), s.amax(dim=1, keepdim=True)
        mixed += (weight / total) * (s - low) / (high - low + 1e-6)
    return scale * mixed
