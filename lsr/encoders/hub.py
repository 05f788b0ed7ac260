"""Model folders from the Hugging Face hub: weights as safetensors only, never code."""

from __future__ import annotations

from pathlib import Path

from lsr.core.errors import EncoderNotFoundError, MissingDependencyError

__all__ = ["fetch_model"]

_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")


def fetch_model(hub_id: str) -> Path:
    """Return the local folder of a hub model, downloaded on first use into the hub's own cache.

    Raises
    ------
    EncoderNotFoundError
        If the hub has no such model, or cannot be reached and the cache does not have it.
    MissingDependencyError
        If ``huggingface_hub`` is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingDependencyError(
            "huggingface_hub", extra="models", purpose=f"Fetching the model {hub_id!r}"
        ) from None
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(_PATTERNS)))
    except (OSError, ValueError) as error:
        # All of huggingface_hub's own errors derive from these two.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise EncoderNotFoundError(
            f"No encoder {hub_id!r}: there is no such folder here, and the Hugging Face hub did "
            f"not give it: {reason}",
            hint="Check the spelling and the network, or pass the path of a local model folder.",
        ) from error
