"""From a name, a folder or a hub id to an encoder.

A name is looked up in this order: an existing folder, an encoder that ships with the package,
``"lexical"``, a Hugging Face hub id. What a folder holds is told by its files:
``lsr_encoder.json`` is our light format (no torch), ``modules.json`` a sentence-transformers
``SparseEncoder``, a ``config.json`` alone a Hugging Face masked-LM.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from lsr.core.artifact import MANIFEST_NAME, check_artifact, read_manifest
from lsr.core.errors import (
    ArgumentError,
    EncoderError,
    EncoderNotFoundError,
    MissingDependencyError,
    ModelFormatError,
    near_names,
)
from lsr.encoders.base import Encoder, QueryEncoder
from lsr.encoders.batched import BatchedEncoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.folder import ENCODER_FORMAT, ENCODER_NAME, EncoderFolder
from lsr.encoders.folding import FoldedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.lexical import LexicalEncoder
from lsr.encoders.lexical_channel import LexicalChannelQuery

__all__ = ["known_names", "load_encoder", "prepare_encoder", "shorten"]

LoadedEncoder: TypeAlias = Encoder | QueryEncoder

_SHIPPED = Path(__file__).parent / "pretrained"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def known_names() -> list[str]:
    """Return the names `load_encoder` knows without a path: what ships, and ``"lexical"``."""
    shipped = [p.name for p in _SHIPPED.iterdir() if p.is_dir()] if _SHIPPED.is_dir() else []
    return sorted([*shipped, "lexical"])


def load_encoder(
    name_or_path: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    query_max_length: int | None = None,
    document_max_length: int | None = None,
) -> LoadedEncoder:
    """Return the encoder of a name, a folder or a hub id.

    Parameters
    ----------
    name_or_path : str or Path
        See the module's text. A folder may hold a query side only.
    device : str, optional
        ``"cpu"``, ``"cuda"`` …; CUDA where there is one otherwise. For models that run in torch.
    dtype : {"float32", "bfloat16", "float16"}, optional
        What matrix products are computed in; measured otherwise. For models that run in torch.
    query_max_length, document_max_length : int, optional
        Cut texts to fewer tokens than the encoder's own limits: faster, at some recall.

    Raises
    ------
    EncoderNotFoundError
        If nothing of this name is known.
    ModelFormatError
        If the folder holds no encoder this release can load.
    ArgumentError
        If device, dtype or a length does not apply to the encoder.
    EncoderError
        For ``"lexical"``, which has to be fitted on a corpus first (`prepare_encoder`).
    """
    encoder = _load_folder(_find_folder(name_or_path), device=device, dtype=dtype)
    shorten(encoder, query_max_length, document_max_length)
    return encoder


def _find_folder(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    name = str(name_or_path)
    if path.is_dir():
        return path
    if (_SHIPPED / name).is_dir() and name not in ("", ".", ".."):
        return _SHIPPED / name
    if name == "lexical":
        raise EncoderError(
            "The lexical encoder has no weights of its own: it is fitted on a corpus.",
            hint="Use LexicalEncoder.fit(texts), or `lsr encode DATASET --encoder lexical`; "
            "afterwards load it from the folder it was saved to.",
        )
    if isinstance(name_or_path, str) and _HUB_ID.fullmatch(name) and not path.exists():
        from lsr.encoders.hub import fetch_model

        return fetch_model(name)
    raise EncoderNotFoundError(
        f"No encoder {name!r}: no such folder, and no encoder of this name ships."
        f"{near_names(name, known_names())}",
        hint=f"Known names: {', '.join(known_names())}; else pass a model folder or a hub id "
        "such as 'naver/splade-v3'.",
    )


def prepare_encoder(
    name_or_path: str | Path,
    texts: Callable[[], Iterable[str]],
    *,
    device: str | None = None,
    dtype: str | None = None,
    query_max_length: int | None = None,
    document_max_length: int | None = None,
) -> LoadedEncoder:
    """Return `load_encoder`'s encoder; ``"lexical"`` is fitted on ``texts()``.

    Parameters
    ----------
    name_or_path, device, dtype, query_max_length, document_max_length
        As in `load_encoder`.
    texts : callable
        Returns the corpus, one string a document; called only where it is needed.
    """
    if str(name_or_path) == "lexical" and not Path(name_or_path).is_dir():
        _require_cpu("lexical", device, dtype)
        encoder = LexicalEncoder.fit(texts())
        shorten(encoder, query_max_length, document_max_length)
        return encoder
    return load_encoder(
        name_or_path,
        device=device,
        dtype=dtype,
        query_max_length=query_max_length,
        document_max_length=document_max_length,
    )


def shorten(encoder: LoadedEncoder, query: int | None, document: int | None) -> None:
    """Lower the maximum lengths of an encoder, in place; None leaves one as it is.

    Raises
    ------
    ArgumentError
        If the encoder has no such limit, or a lower one.
    """
    if query is None and document is None:
        return
    if isinstance(encoder, FoldedEncoder):
        shorten(encoder.query, query, None)
        shorten(encoder.encoder, None, document)
    elif isinstance(encoder, ComposedEncoder):
        shorten(encoder.query, query, None)
        if isinstance(encoder.document, Encoder):
            shorten(encoder.document, None, document)
    elif isinstance(encoder, LexicalChannelQuery):
        shorten(encoder.learned, query, document)
    elif isinstance(encoder, BatchedEncoder):
        options = encoder.options
        _require_shorter(encoder.name, "query", query, options.query_max_length)
        _require_shorter(encoder.name, "document", document, options.document_max_length)
        encoder.options = options.with_lengths(query, document)
    elif isinstance(encoder, LookupQueryEncoder) and document is None:
        _require_shorter(encoder.name, "query", query, encoder.max_length)
        encoder.max_length = query or encoder.max_length
    else:
        raise ArgumentError(
            f"The encoder {encoder.name!r} reads texts whole: a maximum length does not apply.",
            hint="Leave it out.",
        )


def _require_shorter(name: str, side: str, wanted: int | None, limit: int) -> None:
    if wanted is not None and wanted > limit:
        raise ArgumentError(
            f"{side}_max_length must be at most {limit}, the encoder {name!r} takes no more; got "
            f"{wanted}."
        )


def _require_cpu(name: str, device: str | None, dtype: str | None) -> None:
    if device not in (None, "cpu") or dtype not in (None, "float32"):
        raise ArgumentError(
            f"The encoder {name!r} runs without torch: device and dtype do not apply, got "
            f"device {device!r} and dtype {dtype!r}.",
            hint="Leave both out.",
        )


def _load_folder(path: Path, *, device: str | None, dtype: str | None) -> LoadedEncoder:
    if (path / ENCODER_NAME).is_file():
        return _load_light(EncoderFolder(path), device=device, dtype=dtype)
    if (path / MANIFEST_NAME).is_file():  # written by us: a truncated file is told at once
        check_artifact(path, read_manifest(path, kind="encoder", format_version=ENCODER_FORMAT))
    # What runs torch is imported only here: it takes seconds.
    if (path / "modules.json").is_file():
        from lsr.encoders.st_read import read_sparse_encoder

        return read_sparse_encoder(path, device=device, dtype=dtype)
    if (path / "config.json").is_file():
        _require_torch(path)
        from lsr.encoders.splade import MaskedLMEncoder

        return MaskedLMEncoder.from_folder(path, device=device, dtype=dtype)
    raise ModelFormatError(
        f"{path} holds no encoder: neither {ENCODER_NAME} nor modules.json nor config.json.",
        hint="Pass the folder that an encoder was saved to.",
    )


def _load_light(folder: EncoderFolder, *, device: str | None, dtype: str | None) -> LoadedEncoder:
    if folder.kind == "composed":
        return ComposedEncoder.from_folder(folder, device=device, dtype=dtype)
    if folder.kind == "folded":
        return FoldedEncoder.from_folder(folder, device=device, dtype=dtype)
    if folder.kind == "lexical-channel":
        return LexicalChannelQuery.from_folder(folder, device=device, dtype=dtype)
    if folder.kind == "term-weight":
        _require_torch(folder.path)
        from lsr.encoders.term_weight import TermWeightEncoder

        return TermWeightEncoder.from_encoder_folder(folder, device=device, dtype=dtype)
    _require_cpu(folder.name, device, dtype)
    if folder.kind == "lexical":
        return LexicalEncoder.from_folder(folder)
    if folder.kind == "lookup":
        return LookupQueryEncoder.from_folder(folder)
    if folder.kind == "onnx":
        from lsr.encoders.onnx_encoder import OnnxEncoder

        return OnnxEncoder.from_folder(folder)
    raise ModelFormatError(
        f"{folder.path} holds an encoder of the unknown kind {folder.kind!r}.",
        hint="It was written by a newer release; use that one.",
    )


def _require_torch(path: Path) -> None:
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                package, extra="models", purpose=f"Running the model at {path}"
            )
