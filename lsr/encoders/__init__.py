"""Encoders: text to sparse vectors, any query side with any document side."""

from lsr.encoders.base import Encoder, IdfConvention, QueryEncoder, Span
from lsr.encoders.encode import EncodeConfig, encode_collection
from lsr.encoders.lexical import LexicalConfig, LexicalEncoder
from lsr.encoders.lexical_channel import LexicalChannelEncoder, add_lexical
from lsr.encoders.loading import load_encoder, prepare_encoder

__all__ = [
    "EncodeConfig",
    "Encoder",
    "IdfConvention",
    "LexicalChannelEncoder",
    "LexicalConfig",
    "LexicalEncoder",
    "QueryEncoder",
    "Span",
    "add_lexical",
    "encode_collection",
    "load_encoder",
    "prepare_encoder",
]
