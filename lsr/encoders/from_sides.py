"""From trained torch modules to an encoder: what a trainer calls to evaluate and to save."""

from __future__ import annotations

from torch import nn

from lsr.core.errors import EncoderError
from lsr.encoders.base import Encoder
from lsr.encoders.batched import TextOptions
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.splade import MaskedLMEncoder
from lsr.encoders.term_weight import TermWeightEncoder
from lsr.encoders.tokenization import TextTokenizer
from lsr.encoders.torch_sides import LookupSide, MaskedLMSide, TermWeightSide

__all__ = ["encoder_from_sides"]


def encoder_from_sides(
    query: nn.Module,
    document: nn.Module,
    tokenizer: TextTokenizer,
    *,
    name: str,
    options: TextOptions,
    binary: bool = False,
    device: str | None = None,
    dtype: str | None = None,
) -> Encoder:
    """Return the encoder of a query module and a document module; one module may be both.

    The modules are shared, not copied: they are moved to the device and put into evaluation mode,
    so a trainer calls ``module.train()`` afterwards. Tables are copied.

    Parameters
    ----------
    query, document : torch module
        Of `lsr.encoders.torch_sides`; a query module may also be any module with a table
        ``weight``, such as `LookupSide`.
    tokenizer : TextTokenizer
        With the modules' vocabulary size.
    name : str
        How messages call the encoder.
    options : TextOptions
        Lengths and prompts.
    binary : bool
        A table that carries no idf.
    device, dtype : str, optional
        As in `load_encoder`.

    Raises
    ------
    EncoderError
        If a module is of another class.
    """
    sides = {
        id(module): _run(module, tokenizer, name=name, options=options, device=device, dtype=dtype)
        for module in (query, document)
        if isinstance(module, MaskedLMSide | TermWeightSide)
    }
    if id(document) not in sides:
        raise EncoderError(f"{type(document).__name__} does not encode documents.")
    if query is document:
        return sides[id(document)]
    if id(query) in sides:
        return ComposedEncoder(sides[id(query)], sides[id(document)], name=name)
    weight = getattr(query, "weight", None)
    if weight is None:
        raise EncoderError(f"{type(query).__name__} does not encode queries.")
    if isinstance(query, LookupSide):
        weight = weight.masked_fill(query.special, 0)
    table = LookupQueryEncoder(
        tokenizer,
        weight.detach().float().cpu().numpy(),
        name=f"{name}/query",
        idf="none" if binary else "query",
        max_length=options.query_max_length,
        prompt=options.query_prompt,
    )
    return ComposedEncoder(table, sides[id(document)], name=name)


def _run(
    module: MaskedLMSide | TermWeightSide,
    tokenizer: TextTokenizer,
    *,
    name: str,
    options: TextOptions,
    device: str | None,
    dtype: str | None,
) -> MaskedLMEncoder | TermWeightEncoder:
    kind = MaskedLMEncoder if isinstance(module, MaskedLMSide) else TermWeightEncoder
    return kind(module, tokenizer, name=name, options=options, device=device, dtype=dtype)
