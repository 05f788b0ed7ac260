"""Masked-LM encoders: SPLADE-max, SPLADE v1 (sum), twice saturated."""

from __future__ import annotations

from pathlib import Path

from lsr.core.artifact import write_artifact
from lsr.encoders.batched import TextOptions
from lsr.encoders.hf_models import load_model, load_tokenizer, positions
from lsr.encoders.torch_encoder import TorchEncoder
from lsr.encoders.torch_sides import MaskedLMSide, Pooling

__all__ = ["MaskedLMEncoder"]


class MaskedLMEncoder(TorchEncoder):
    """An encoder whose two sides are one masked-LM (siamese); see `MaskedLMSide`.

    In a `ComposedEncoder` it may also be the document side, or the query side, alone.
    """

    module: MaskedLMSide

    @classmethod
    def from_folder(
        cls,
        path: Path,
        *,
        pooling: Pooling = "max",
        saturation: int = 1,
        options: TextOptions | None = None,
        lower_case: bool = False,
        name: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> MaskedLMEncoder:
        """Return the encoder of a plain Hugging Face masked-LM folder.

        Parameters
        ----------
        path : Path
            The folder.
        pooling, saturation
            As for `MaskedLMSide`.
        options : TextOptions, optional
            The longest input of the model on both sides otherwise.
        lower_case : bool
            Lower the text first, whatever the tokenizer does.
        name : str, optional
            The folder's name otherwise.
        device, dtype : str, optional
            As in `load_encoder`.

        Raises
        ------
        ModelFormatError
            If the folder cannot be used as it is.
        """
        side = MaskedLMSide(load_model(path, "masked-lm"), pooling=pooling, saturation=saturation)
        tokenizer = load_tokenizer(path, size=side.vocabulary_size, lower_case=lower_case)
        limit = positions(side.model, tokenizer)
        return cls(
            side,
            tokenizer,
            name=name or path.resolve().name,
            options=options or TextOptions(limit, limit),
            device=device,
            dtype=dtype,
        )

    def save(self, path: Path) -> None:
        """Write a folder that sentence-transformers' ``SparseEncoder`` loads too."""
        from lsr.encoders.st_write import encoder_manifest, write_siamese

        with write_artifact(path, encoder_manifest(self), overwrite=False) as writer:
            write_siamese(self, writer.path)

    def save_query_side(self, path: Path) -> None:
        """Write the whole encoder: a query needs the model too."""
        self.save(path)
