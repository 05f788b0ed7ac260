"""Transformers models from folders: safetensors only, no code from the folder, nothing missing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lsr.core.errors import MissingDependencyError, ModelFormatError
from lsr.encoders.tokenization import TextTokenizer

__all__ = ["load_model", "load_tokenizer", "positions"]

Head = Literal["masked-lm", "none"]
DEFAULT_MAX_LENGTH = 512
_VOCABULARIES = ("vocab.txt", "vocab.json", "*.model")


def load_model(path: Path, head: Head) -> Any:
    """Return the transformers model of a folder, in float32, with all of its weights.

    Parameters
    ----------
    path : Path
        A folder with ``config.json`` and ``*.safetensors``.
    head : {"masked-lm", "none"}
        With the language-model head, or hidden states only.

    Raises
    ------
    ModelFormatError
        If the folder has no safetensors, needs its own code, is of another kind, or lacks
        weights the model has (those would be random).
    MissingDependencyError
        If torch or transformers is not installed.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            str(error.name), extra="models", purpose=f"Running the model at {path}"
        ) from None
    from safetensors import SafetensorError

    if not any(Path(path).glob("*.safetensors")):
        raise ModelFormatError(
            f"{path} has no *.safetensors file; other weight formats can hold code and are not "
            "read.",
            hint="Load the model with transformers once and save_pretrained() it.",
        )
    classes = {"masked-lm": transformers.AutoModelForMaskedLM, "none": transformers.AutoModel}
    try:
        with _quiet(transformers):
            model, info = classes[head].from_pretrained(
                path,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelFormatError(
            f"{path} cannot be loaded as a {head} model: {error}",
            hint="Folders that bring their own code (auto_map) are not run.",
        ) from error
    # The pooler of a bare encoder is not used by any side.
    missing = sorted(k for k in info["missing_keys"] if not k.startswith("pooler."))
    if missing or info["mismatched_keys"]:
        raise ModelFormatError(
            f"{path} lacks weights of {type(model).__name__}, they would be random: "
            f"{', '.join(missing[:4]) or info['mismatched_keys']}.",
            hint="Pass a model that was trained with a masked-LM head, or train one.",
        )
    return model.eval()


def load_tokenizer(path: Path, *, size: int, lower_case: bool = False) -> TextTokenizer:
    """Return the tokenizer of a model folder; one without ``tokenizer.json`` is converted."""
    if (path / "tokenizer.json").is_file():
        return TextTokenizer.from_folder(path, size=size, lower_case=lower_case)
    # Without any of these transformers makes an empty tokenizer and says nothing.
    if not any(file for pattern in _VOCABULARIES for file in path.glob(pattern)):
        raise ModelFormatError(
            f"{path} has no tokenizer: neither tokenizer.json nor {', '.join(_VOCABULARIES)}.",
            hint="Fetch the model again, with its tokenizer.",
        )
    import transformers

    try:
        with _quiet(transformers):
            slow = transformers.AutoTokenizer.from_pretrained(
                path, trust_remote_code=False, local_files_only=True
            )
        definition = slow.backend_tokenizer.to_str()
    except (OSError, ValueError, AttributeError) as error:
        raise ModelFormatError(f"{path} has no tokenizer that can be read: {error}") from error
    config: dict[str, Any] = {"model_max_length": slow.model_max_length}
    for name in ("cls_token", "mask_token", "pad_token", "sep_token", "unk_token"):
        if getattr(slow, name) is not None:
            config[name] = str(getattr(slow, name))
    return TextTokenizer(definition, size=size, config=config)


def positions(model: Any, tokenizer: TextTokenizer) -> int:
    """Return the longest input of a model, special tokens included."""
    config = model.config
    limit = getattr(config, "max_position_embeddings", None)
    embeddings = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(embeddings, "padding_idx", None)
    if limit is not None and padding is not None:
        limit -= padding + 1  # RoBERTa and MPNet count positions from behind the padding index
    known = [n for n in (limit, tokenizer.max_length) if n is not None and n > 0]
    return int(min(known)) if known else DEFAULT_MAX_LENGTH


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    ModelFormatError
        If it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFormatError(f"{path} is missing.", hint="Fetch the model again.") from None
    except ValueError as error:
        raise ModelFormatError(f"{path} is not JSON: {error}.") from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers' bars and reports off the terminal; what matters is raised."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
