"""Text to the term ids of a pretrained tokenizer, without torch or transformers.

One `TextTokenizer` serves every encoder whose vocabulary is a subword vocabulary: the lookup
query side, the torch encoders and the ONNX encoder read the same ``tokenizer.json``.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr.core.errors import ModelFormatError
from lsr.core.sparse import Int32Array
from lsr.core.vocabulary import Vocabulary
from lsr.encoders.base import Span

__all__ = ["TextTokenizer"]

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
"""Halves of characters, as broken JSON escapes leave them; tokenizers takes none."""

_UNBOUNDED = 100_000
"""Hugging Face writes 10**30 where a tokenizer has no maximum length."""


class TextTokenizer:
    """A ``tokenizers`` tokenizer with its vocabulary; safe to share between threads.

    Parameters
    ----------
    definition : str
        The content of ``tokenizer.json``; its padding and truncation are ignored.
    size : int, optional
        Vocabulary size of the model, where it is larger than the tokenizer's: the positions
        beyond are filled with names no text gives.
    config : dict, optional
        The content of ``tokenizer_config.json``: names of special tokens, maximum length.

    Raises
    ------
    ModelFormatError
        If the definition cannot be parsed, or has more tokens than `size`.
    """

    def __init__(
        self, definition: str, *, size: int | None = None, config: dict[str, Any] | None = None
    ) -> None:
        self.definition = definition
        self.config = dict(config or {})
        self._tokenizer = _parse(definition)
        tokens: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        n_tokens = 1 + max(tokens.values(), default=-1)
        size = n_tokens if size is None else size
        if n_tokens > size:
            raise ModelFormatError(
                f"The tokenizer has {n_tokens} tokens, the model only {size}.",
                hint="The folder mixes the files of two models.",
            )
        by_term = {term: token for token, term in tokens.items()}
        self.vocabulary = Vocabulary(by_term.get(t, f"[no token {t}]") for t in range(size))
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_terms = np.array(
            sorted(t for t, token in added.items() if token.special), dtype=np.int32
        )
        self._special = frozenset(self.special_terms.tolist())
        self._truncating: dict[int, Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_folder(
        cls, path: Path, *, size: int | None = None, lower_case: bool = False
    ) -> TextTokenizer:
        """Return the tokenizer of a model folder.

        Parameters
        ----------
        path : Path
            Holds ``tokenizer.json`` and, mostly, ``tokenizer_config.json``.
        size : int, optional
            As for the class.
        lower_case : bool
            Lower the text first, whatever the definition does.

        Raises
        ------
        ModelFormatError
            If there is no ``tokenizer.json``.
        """
        file = Path(path) / "tokenizer.json"
        if not file.is_file():
            raise ModelFormatError(
                f"{path} has no tokenizer.json.",
                hint="Load its tokenizer with transformers' AutoTokenizer and save it there: "
                "that writes the file.",
            )
        definition = file.read_text(encoding="utf-8")
        if lower_case:
            definition = _lower_casing(definition)
        try:
            config = json.loads((Path(path) / "tokenizer_config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            config = {}
        return cls(definition, size=size, config=config)

    def resized(self, size: int) -> TextTokenizer:
        """Return the same tokenizer for a model with `size` vocabulary positions."""
        if size == len(self.vocabulary):
            return self
        return TextTokenizer(self.definition, size=size, config=self.config)

    @property
    def max_length(self) -> int | None:
        """What the tokenizer's config says, special tokens included; None where it does not."""
        length = self.config.get("model_max_length")
        return int(length) if length is not None and length < _UNBOUNDED else None

    @property
    def pad_id(self) -> int:
        """What padded positions hold; 0 where the config names no padding token."""
        token = self.config.get("pad_token") or "[PAD]"
        found = self._tokenizer.token_to_id(token["content"] if isinstance(token, dict) else token)
        return 0 if found is None else int(found)

    def save(self, folder: Path, *, max_length: int) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json`` into an existing folder."""
        config = {**_default_config(self.vocabulary), **self.config}
        config["model_max_length"] = max_length
        (folder / "tokenizer.json").write_text(self.definition, encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(
            json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )

    def encode(
        self, texts: Sequence[str], *, max_length: int, special_tokens: bool
    ) -> list[Int32Array]:
        """Return the ids of each text, at most `max_length` of them, special tokens included.

        Parameters
        ----------
        texts : sequence of str
            Any strings.
        max_length : int
            Longer texts lose their end.
        special_tokens : bool
            Add what the model expects around a text, such as [CLS] and [SEP].
        """
        texts = [_LONE_SURROGATES.sub("\ufffd", text) for text in texts]
        tokenizer = self._tokenizer if not special_tokens else self._truncated(max_length)
        if len(texts) == 1:  # one text is not worth waking the tokenizer's thread pool
            encodings = [tokenizer.encode(texts[0], add_special_tokens=special_tokens)]
        else:
            encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=special_tokens)
        return [np.array(e.ids[:max_length], dtype=np.int32) for e in encodings]

    def encode_with_offsets(
        self, texts: Sequence[str], *, max_length: int
    ) -> tuple[list[Int32Array], list[Int32Array]]:
        """Return the ids of each text as `encode` does with special tokens, and their places.

        The second list holds int32 arrays of shape (n_tokens, 2): start and end of each token in
        its text, 0 and 0 for special tokens.
        """
        texts = [_LONE_SURROGATES.sub("\ufffd", text) for text in texts]
        encodings = self._truncated(max_length).encode_batch(texts, add_special_tokens=True)
        return (
            [np.array(e.ids, dtype=np.int32) for e in encodings],
            [np.array(e.offsets, dtype=np.int32).reshape(-1, 2) for e in encodings],
        )

    def spans(self, text: str) -> list[Span]:
        """Return the pieces of `text` with their terms, special and unknown tokens left out."""
        text = _LONE_SURROGATES.sub("\ufffd", text)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [
            Span(start, end, term)
            for (start, end), term in zip(encoding.offsets, encoding.ids, strict=True)
            if term not in self._special and end > start
        ]

    def _truncated(self, max_length: int) -> Any:
        with self._lock:
            if max_length not in self._truncating:
                tokenizer = _parse(self.definition)
                tokenizer.enable_truncation(max_length)
                self._truncating[max_length] = tokenizer
            return self._truncating[max_length]


def _parse(definition: str) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(definition)
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelFormatError(f"The tokenizer cannot be read: {error}.") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _lower_casing(definition: str) -> str:
    parsed = json.loads(definition)
    inner = parsed.get("normalizer")
    steps = [{"type": "Lowercase"}, *([inner] if inner else [])]
    parsed["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return json.dumps(parsed, ensure_ascii=False)


def _default_config(vocabulary: Vocabulary) -> dict[str, Any]:
    names = {
        "cls_token": ("[CLS]", "<s>"),
        "mask_token": ("[MASK]", "<mask>"),
        "pad_token": ("[PAD]", "<pad>"),
        "sep_token": ("[SEP]", "</s>"),
        "unk_token": ("[UNK]", "<unk>"),
    }
    known = {
        key: next((t for t in tokens if t in vocabulary), None) for key, tokens in names.items()
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{key: token for key, token in known.items() if token is not None},
    }
