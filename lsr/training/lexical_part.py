"""The lexical part of a student: fixed BM25 vectors beside the learned ones, in one score.

An encoder with a lexical channel (`lsr.encoders.lexical_channel`) scores the learned inner product
plus a lexical one. Where the channel takes part in training, the losses ask the learned part for
what the words alone do not tell. The vectors are those of a fitted `LexicalEncoder`, computed once
for all passages and queries; only the query weights, one a term, can be trained.

References
----------
Gao et al.: Complement Lexical Retrieval Model with Semantic Residual Embeddings (CLEAR), ECIR 2021.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from lsr.core.artifact import check_artifact, open_array, read_manifest, write_artifact
from lsr.core.config import Config
from lsr.core.console import progress_bar
from lsr.core.errors import ModelFormatError
from lsr.core.manifest import Manifest
from lsr.core.sparse import SparseMatrix
from lsr.encoders.lexical import LexicalEncoder
from lsr.encoders.loading import load_encoder
from lsr.training.pair_table import PairTable, TokenTable

__all__ = [
    "LEXICAL_FORMAT",
    "LEXICAL_KIND",
    "LexicalPart",
    "LexicalTable",
    "load_lexical",
    "made_by",
    "make_lexical_table",
]

LEXICAL_FORMAT = 1
LEXICAL_KIND = "training-lexical"
_BATCH = 1024


class MadeBy(Config):
    """What decides the vectors of a table.

    Attributes
    ----------
    lexical_encoder : str
        Its fingerprint.
    """

    lexical_encoder: str


def made_by(encoder: LexicalEncoder) -> MadeBy:
    """Return what a table of `encoder`'s vectors is compared by."""
    return MadeBy(lexical_encoder=encoder.fingerprint)


class LexicalTable:
    """Lexical vectors of all passages and queries, as CSR arrays.

    Attributes
    ----------
    passages_terms, queries_terms : uint16 or int32, shape (nnz,)
    passages_weights, queries_weights : float16, shape (nnz,)
        Document weights of the passages; how often a term stands in a query.
    passages_offsets, queries_offsets : int64, shape (n + 1,)
    """

    def __init__(self, path: Path) -> None:
        manifest = read_manifest(path, kind=LEXICAL_KIND, format_version=LEXICAL_FORMAT)
        check_artifact(path, manifest)
        for side in ("passages", "queries"):
            for part in ("terms", "weights", "offsets"):
                setattr(self, f"{side}_{part}", open_array(path, f"{side}_{part}", manifest))
        self.size = int(manifest.details["vocabulary_size"])

    def side(self, name: str, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return the vectors of ``passages`` or ``queries`` at `rows`, float32 (n, vocabulary)."""
        offsets = getattr(self, f"{name}_offsets")
        counts = offsets[rows + 1] - offsets[rows]
        starts = np.cumsum(counts) - counts
        at = np.arange(counts.sum()) + np.repeat(offsets[rows] - starts, counts)
        row = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(device)
        terms = torch.from_numpy(getattr(self, f"{name}_terms")[at].astype(np.int64)).to(device)
        weights = torch.from_numpy(getattr(self, f"{name}_weights")[at]).to(device)
        out = torch.zeros(len(rows), self.size, device=device)
        return out.index_put_((row, terms), weights.float())


class LexicalPart(nn.Module):
    """The channel's share of the student's scores: Σ_t tf_t(q) · weight_t · d_t.

    Parameters
    ----------
    table : LexicalTable
        Vectors of the training texts.
    weight : float32, shape (n_terms,)
        Where the query weights start: the channel's weight times the idf.
    trainable : bool
        Whether they are trained.
    """

    def __init__(self, table: LexicalTable, weight: Tensor, *, trainable: bool) -> None:
        super().__init__()
        self.table = table
        self.weight = nn.Parameter(weight.clone(), requires_grad=trainable)

    def queries(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the weighted query vectors, shape (n, n_terms)."""
        return self.table.side("queries", rows, self.weight.device) * torch.relu(self.weight)

    def documents(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the document vectors, shape (n, n_terms)."""
        return self.table.side("passages", rows, self.weight.device)


def load_lexical(path: Path) -> LexicalEncoder:
    """Return the fitted lexical encoder in the folder `path`.

    Raises
    ------
    ModelFormatError
        If the folder holds another encoder.
    """
    encoder = load_encoder(path)
    if not isinstance(encoder, LexicalEncoder):
        raise ModelFormatError(
            f"{path} holds no lexical encoder but {encoder.name!r}.",
            hint="Fit one: LexicalEncoder.fit(texts).save(folder).",
        )
    return encoder


def make_lexical_table(
    encoder: LexicalEncoder, pairs: PairTable, tokenizer: Path, out: Path
) -> None:
    """Write the lexical vectors of the training texts as the artefact `out`.

    Parameters
    ----------
    encoder : LexicalEncoder
        Fitted.
    pairs : PairTable
        The texts are put together again from its token ids: lower case, which an analyser does
        anyway.
    tokenizer : Path
        The ``tokenizer.json`` that made the ids.
    out : Path
        The new artefact.
    """
    decoder = Tokenizer.from_file(str(tokenizer))
    dtype = np.uint16 if len(encoder.vocabulary) <= 1 << 16 else np.int32
    details = {"vocabulary_size": len(encoder.vocabulary), "pairs_created": pairs.manifest.created}
    manifest = Manifest.new(
        LEXICAL_KIND,
        LEXICAL_FORMAT,
        details=details,
        config=made_by(encoder).model_dump(mode="json"),
    )
    with write_artifact(out, manifest, overwrite=False) as writer:
        for side, texts in (("passages", pairs.passages), ("queries", pairs.queries)):
            parts = _encoded(encoder, decoder, texts, side)
            counts = np.concatenate([np.diff(part.indptr) for part in parts])
            offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            weights = np.concatenate([part.weights for part in parts])
            terms = np.concatenate([part.terms for part in parts])
            if side == "queries":
                # Counts only: the weight of a term belongs to the part that is trained.
                weights = weights / np.maximum(encoder.weights[terms], 1e-9)
            writer.array(f"{side}_terms", terms.astype(dtype))
            writer.array(f"{side}_weights", weights.astype(np.float16))
            writer.array(f"{side}_offsets", offsets)


def _encoded(
    encoder: LexicalEncoder, tokenizer: Tokenizer, texts: TokenTable, side: str
) -> list[SparseMatrix]:
    encode = encoder.encode_queries if side == "queries" else encoder.encode_documents
    parts = []
    with progress_bar(f"lexical {side}", total=len(texts), unit="texts") as advance:
        for at in range(0, len(texts), _BATCH):
            rows = range(at, min(at + _BATCH, len(texts)))
            ids = [np.asarray(texts.row(row)).tolist() for row in rows]
            parts.append(encode(tokenizer.decode_batch(ids)))
            advance(len(rows))
    return parts
