"""Positions beside a plain definition: the logits of every position, and the largest of each term."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lsr.core.errors import EncoderError
from lsr.core.origins import Origins
from lsr.core.records import Document
from lsr.core.sparse import SparseMatrix
from lsr.encoders import load_encoder
from lsr.encoders.batched import TextOptions
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.encode import EncodeConfig, encode_collection
from lsr.encoders.folding import FoldedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.lexical import LexicalEncoder
from lsr.encoders.splade import MaskedLMEncoder
from lsr.encoders.term_weight import TermWeightEncoder
from lsr.encoders.torch_encoder import TorchEncoder
from tests.helpers.tiny_model import TEXTS

CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


def logits_of(encoder: MaskedLMEncoder, text: str) -> tuple[Any, list[tuple[int, int]]]:
    """Return one text's logits, shape (positions, terms), and the place of each position."""
    encoding = encoder.tokenizer._tokenizer.encode(encoder.options.document_prompt + text)
    length = encoder.options.document_max_length
    ids, offsets = encoding.ids, list(encoding.offsets)
    if len(ids) > length:  # the last one closes the text
        ids, offsets = [*ids[: length - 1], ids[-1]], [*offsets[: length - 1], offsets[-1]]
    with torch.inference_mode():
        tokens = torch.tensor([ids])
        hidden = encoder.module.hidden(tokens, torch.ones_like(tokens))
        return encoder.module.decoder(hidden)[0].numpy(), offsets


def require_largest(encoder: MaskedLMEncoder, matrix: SparseMatrix, origins: Origins) -> None:
    n_prompt = len(encoder.options.document_prompt)
    for row, text in enumerate(TEXTS):
        logits, offsets = logits_of(encoder, text)
        low, high = matrix.indptr[row], matrix.indptr[row + 1]
        for at in range(low, high):
            of_term = logits[:, matrix.terms[at]]
            largest = {
                (start - n_prompt, end - n_prompt) if start >= n_prompt and end > start else (0, 0)
                for position, (start, end) in enumerate(offsets)
                if of_term[position] >= of_term.max() - 1e-4
            }
            assert (origins.starts[at], origins.ends[at]) in largest


@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize(
    ("pooling", "saturation", "options"),
    [
        ("max", 1, TextOptions(64, 64)),
        ("max", 2, TextOptions(64, 64, document_prompt="search: ", max_active_dims=9)),
        ("max", 1, TextOptions(64, 8)),
        ("sum", 1, TextOptions(64, 64)),
    ],
)
def test_the_origin_is_the_position_of_the_largest_logit(
    masked_lm_path: Path,
    pooling: Literal["max", "sum"],
    saturation: int,
    options: TextOptions,
    batch_size: int,
) -> None:
    encoder = MaskedLMEncoder.from_folder(
        masked_lm_path, pooling=pooling, saturation=saturation, options=options, **CPU
    )
    texts = [*TEXTS, "", "  "]
    matrix, origins = encoder.encode_with_origins(texts, batch_size=batch_size)
    assert matrix == encoder.encode_documents(texts, batch_size=batch_size)
    assert len(origins) == matrix.nnz > 0
    require_largest(encoder, matrix, origins)


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_onnx_keeps_the_same_origins(masked_lm_path: Path, tmp_path: Path, weights: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from lsr.encoders.onnx_export import save_onnx

    plain = MaskedLMEncoder.from_folder(masked_lm_path, **CPU)
    save_onnx(plain, tmp_path / "onnx", weights=weights)
    made = load_encoder(tmp_path / "onnx")
    matrix, origins = made.encode_with_origins([*TEXTS, ""], batch_size=3)  # type: ignore[union-attr]
    assert matrix == made.encode_documents([*TEXTS, ""], batch_size=3)  # type: ignore[union-attr]
    if weights == "float32":
        require_largest(plain, matrix, origins)
        return
    # Rounded weights have their own logits: most of the largest stay where they are.
    of_plain, expected = plain.encode_with_origins([*TEXTS, ""], batch_size=3)
    places = {
        (row, term): at
        for row in range(of_plain.n_rows)
        for at, term in enumerate(of_plain.row(row).terms.tolist(), of_plain.indptr[row])
    }
    same = [
        origins.starts[at] == expected.starts[places[row, term]]
        for row in range(matrix.n_rows)
        for at, term in enumerate(matrix.row(row).terms.tolist(), matrix.indptr[row])
        if (row, term) in places
    ]
    assert np.mean(same) > 0.8


def test_a_term_weight_comes_from_its_heaviest_token(masked_lm_path: Path) -> None:
    encoder = TermWeightEncoder.from_backbone(masked_lm_path, **CPU)
    with torch.no_grad():  # an untrained head may give no weight at all
        encoder.module.head.bias.fill_(2.0)
    matrix, origins = encoder.encode_with_origins(TEXTS)
    assert matrix == encoder.encode_documents(TEXTS)
    for row, text in enumerate(TEXTS):
        encoding = encoder.tokenizer._tokenizer.encode(text)
        with torch.inference_mode():
            weights = encoder.module.token_weights(torch.tensor([encoding.ids]), None)[0].numpy()
        for at in range(matrix.indptr[row], matrix.indptr[row + 1]):
            own = [p for p, token in enumerate(encoding.ids) if token == matrix.terms[at]]
            best = encoding.offsets[max(own, key=lambda p: weights[p])]
            assert (origins.starts[at], origins.ends[at]) == best


def test_composed_and_folded_encoders_pass_them_on(masked_lm_path: Path) -> None:
    document: TorchEncoder = MaskedLMEncoder.from_folder(masked_lm_path, **CPU)
    table = np.random.default_rng(3).random(len(document.vocabulary)).astype(np.float32)
    table[::3] = 0
    composed = ComposedEncoder(LookupQueryEncoder(document.tokenizer, table), document)
    plain, origins = composed.encode_with_origins(TEXTS)
    folded = FoldedEncoder(composed)
    matrix, kept = folded.encode_with_origins(TEXTS)
    assert matrix == folded.encode_documents(TEXTS)
    assert matrix.nnz < plain.nnz
    stays = table[plain.terms] > 0
    assert kept.starts.tolist() == origins.starts[stays].tolist()


def test_encoders_without_positions_say_so(tmp_path: Path) -> None:
    lexical = LexicalEncoder.fit(TEXTS)
    documents = [Document(str(at), text) for at, text in enumerate(TEXTS)]
    with pytest.raises(EncoderError, match="keeps no positions"):
        encode_collection(
            lexical, documents, tmp_path / "vectors", config=EncodeConfig(positions=True)
        )
    with pytest.raises(EncoderError, match="keeps no positions"):
        ComposedEncoder(lexical, lexical).encode_with_origins(TEXTS)


def test_a_collection_keeps_them_beside_its_vectors(masked_lm_path: Path, tmp_path: Path) -> None:
    encoder = MaskedLMEncoder.from_folder(masked_lm_path, **CPU)
    documents = [Document(str(at), text) for at, text in enumerate([*TEXTS, ""])]
    config = EncodeConfig(positions=True, max_active_dims=7, shard_size=4)
    vectors = encode_collection(encoder, documents, tmp_path / "vectors", config=config)
    assert vectors.has_origins
    rows = [vector for shard in vectors.shards() for vector in shard]
    blobs = list(vectors.origins())
    assert len(blobs) == len(rows) == len(documents)
    whole, expected = encoder.encode_with_origins([d.content for d in documents])
    for row, (vector, blob) in enumerate(zip(rows, blobs, strict=True)):
        got = Origins.unpacked(blob, vector.nnz)
        terms = whole.row(row).terms.tolist()
        at = [whole.indptr[row] + terms.index(term) for term in vector.terms.tolist()]
        assert got.starts.tolist() == expected.starts[at].tolist()
        assert got.ends.tolist() == expected.ends[at].tolist()
    plain = encode_collection(encoder, documents, tmp_path / "plain")
    assert not plain.has_origins
