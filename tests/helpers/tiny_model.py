"""Masked-LM folders small enough to be made by a test: random weights, a real WordPiece."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

__all__ = ["TEXTS", "WORDS", "tiny_bi_encoder", "tiny_masked_lm", "tiny_tokenizer_json"]

WORDS = [
    "the",
    "a",
    "of",
    "and",
    "in",
    "is",
    "to",
    "for",
    "with",
    "on",
    "cat",
    "dog",
    "house",
    "river",
    "stone",
    "cloud",
    "tree",
    "mouse",
    "mat",
    "wool",
    "warm",
    "chase",
    "sat",
    "made",
    "search",
    "index",
    "sparse",
    "dense",
    "vector",
    "query",
    "document",
    "term",
    "weight",
    "model",
    "train",
    "text",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

TEXTS = [
    "The cat sat on the mat.",
    "Dogs chase cats in the house",
    "a river of stone, and a cloud",
    "wool",
    (
        "sparse search with a learned model: query and document terms, weights of terms in an "
        "index of vectors; the warm cat, the warm dog, the tree on the river, and the mouse"
    ),
    "Search",
    "to train a model is to search for weights",
    "ünïcode çat ∞ 42",
]
"""Eight texts of different lengths."""


def tiny_tokenizer_json() -> str:
    """Return a lower-casing BERT WordPiece tokenizer with about a hundred tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = list(string.ascii_lowercase + string.digits + ".,:;?!-")
    continued = [f"##{c}" for c in string.ascii_lowercase + string.digits] + ["##ing"]
    tokens = [*SPECIAL, *pieces, *continued, *[w for w in WORDS if len(w) > 1]]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(SPECIAL)
    text: str = tokenizer.to_str()
    return text


def tiny_masked_lm(
    path: Path, *, seed: int = 0, architecture: str = "bert", **changes: Any
) -> Path:
    """Write a masked-LM folder as ``save_pretrained`` does and return `path`.

    Parameters
    ----------
    path : Path
        The new folder.
    seed : int
        Of the random weights. They are wide, so that about half of the logits are positive.
    architecture : {"bert", "distilbert", "roberta"}
        Which model class.
    **changes
        Config values that differ.
    """
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedTokenizerFast

    path.mkdir(parents=True, exist_ok=True)
    (path / "raw_tokenizer.json").write_text(tiny_tokenizer_json(), encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(path / "raw_tokenizer.json"),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )
    (path / "raw_tokenizer.json").unlink()
    size = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.4,
        "pad_token_id": 0,
    }
    if architecture == "distilbert":
        size |= {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
            del size[name]
        del size["intermediate_size"]
    if architecture == "roberta":
        size["max_position_embeddings"] = 66
    config = AutoConfig.for_model(architecture, **{**size, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForMaskedLM.from_config(config)
        with torch.no_grad():
            model.get_output_embeddings().bias.normal_(0, 0.5)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def tiny_bi_encoder(path: Path) -> Path:
    """Write a model of dense vectors with 16 numbers, which knows ten letters, to the new `path`."""
    import torch
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    path.mkdir()
    (path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(path)
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    return path
