"""One encoder from several of one shape: the mean of their weights.

Models that were trained on from one another lie in one valley of the loss; the mean of their
weights is often better than each, at no cost when encoding.

References
----------
Wortsman et al.: Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time, ICML 2022 (the uniform soup).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lsr.core.errors import ArgumentError, EncoderError
from lsr.core.sparse import Float32Array
from lsr.encoders.base import QueryEncoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.splade import MaskedLMEncoder

__all__ = ["average_encoders"]


def average_encoders(
    encoders: Sequence[QueryEncoder], *, name: str | None = None
) -> ComposedEncoder:
    """Return the encoder whose weights are the mean of those of `encoders`.

    The scale of a query table does not change a ranking, so tables are brought to the mean weight
    of the last one first. Everything else (tokenizer, lengths, repeats) is the last one's.

    Parameters
    ----------
    encoders : sequence of ComposedEncoder
        Each a query table and a masked-LM document side, on the CPU in float32; the last one is
        changed in place.
    name : str, optional
        As the last one otherwise.

    Raises
    ------
    ArgumentError
        If there are fewer than two.
    EncoderError
        If one is of another kind, or of another shape than the last.
    """
    if len(encoders) < 2:
        raise ArgumentError(f"An average needs two encoders or more, got {len(encoders)}.")
    sides = [_sides(encoder) for encoder in encoders]
    table, document = sides[-1]
    for other_table, other in sides[:-1]:
        _require_same(other, document)
        if other_table.tokenizer.definition != table.tokenizer.definition:
            raise EncoderError("The query sides have different tokenizers; no mean of them exists.")
    # Copies: a tied weight stands in the state twice, and must not be averaged twice.
    states = [{k: v.clone() for k, v in s.module.state_dict().items()} for _, s in sides]
    with torch.no_grad():
        for key, tensor in document.module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.stack([state[key].float() for state in states]).mean(dim=0))
    tables = np.stack([_scaled(t.weights, table.weights) for t, _ in sides])
    query = LookupQueryEncoder(
        table.tokenizer,
        tables.mean(axis=0).astype(np.float32),
        name=table.name,
        idf="query" if table.idf == "query" else "none",
        max_length=table.max_length,
        prompt=table.prompt,
        term_frequency=table.term_frequency,
    )
    return ComposedEncoder(query, document, name=name or encoders[-1].name)


def _sides(encoder: QueryEncoder) -> tuple[LookupQueryEncoder, MaskedLMEncoder]:
    if (
        not isinstance(encoder, ComposedEncoder)
        or not isinstance(encoder.query, LookupQueryEncoder)
        or not isinstance(encoder.document, MaskedLMEncoder)
    ):
        raise EncoderError(
            f"{encoder.name!r} is no query table with a masked-LM document side.",
            hint="Average inference-free encoders, in the form training saves.",
        )
    return encoder.query, encoder.document


def _require_same(one: MaskedLMEncoder, other: MaskedLMEncoder) -> None:
    shapes = [{k: tuple(v.shape) for k, v in e.module.state_dict().items()} for e in (one, other)]
    kinds = [(e.module.pooling, e.module.saturation) for e in (one, other)]
    if shapes[0] != shapes[1] or kinds[0] != kinds[1]:
        raise EncoderError(
            f"{one.name!r} and {other.name!r} differ in shape, pooling or saturation.",
            hint="Average models that were trained on from one another.",
        )


def _scaled(weights: Float32Array, like: Float32Array) -> Float32Array:
    mean = float(weights.mean())
    if mean <= 0 or float(like.mean()) <= 0:
        raise EncoderError("A query table has no weight above 0.")
    scaled: Float32Array = weights * np.float32(like.mean() / mean)
    return scaled
