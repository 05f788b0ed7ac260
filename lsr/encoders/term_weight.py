"""uniCOIL and DeepImpact: one weight a token of the text; see `TermWeightSide`.

uniCOIL runs it on both sides. DeepImpact and TILDEv2 run it on documents and compose it with a
binary `LookupQueryEncoder`. Expansion terms are text appended to the document before it is
encoded.

It is saved in our own format: sentence-transformers has no module of this kind, and loads foreign
ones only with ``trust_remote_code``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lsr.encoders.batched import TextOptions
from lsr.encoders.folder import EncoderFolder, write_encoder_folder
from lsr.encoders.hf_models import load_model, load_tokenizer, positions
from lsr.encoders.tokenization import TextTokenizer
from lsr.encoders.torch_encoder import TorchEncoder
from lsr.encoders.torch_sides import TermWeightSide

__all__ = ["TermWeightEncoder"]


class TermWeightEncoder(TorchEncoder):
    """An encoder whose two sides are one term-weight model."""

    kind = "term-weight"
    module: TermWeightSide

    @classmethod
    def from_backbone(
        cls,
        path: Path,
        *,
        head_width: int | None = None,
        saturation: int = 0,
        options: TextOptions | None = None,
        name: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> TermWeightEncoder:
        """Return an encoder with a fresh, untrained head on the backbone in the folder `path`.

        Parameters
        ----------
        path : Path
            A Hugging Face model folder.
        head_width, saturation
            As for `TermWeightSide`.
        options, name, device, dtype
            As for `MaskedLMEncoder.from_folder`.
        """
        model = load_model(path, "none")
        size = int(model.config.vocab_size)
        tokenizer = load_tokenizer(path, size=size)
        side = TermWeightSide(
            model,
            vocabulary_size=size,
            special_terms=torch.from_numpy(tokenizer.special_terms).long(),
            head_width=head_width,
            saturation=saturation,
        )
        limit = positions(model, tokenizer)
        return cls(
            side,
            tokenizer,
            name=name or path.resolve().name,
            options=options or TextOptions(limit, limit),
            device=device,
            dtype=dtype,
        )

    def save(self, path: Path) -> None:
        """Write our own format: tokenizer and head, and the backbone as transformers writes it."""
        head = {
            f"head.{key}": value.detach().cpu().numpy()
            for key, value in self.module.head.state_dict().items()
        }
        config: dict[str, Any] = {
            "head_width": self.module.head_width,
            "saturation": self.module.saturation,
            "options": self.options.as_dict(),
            "tokenizer": self.tokenizer.config,
        }

        def backbone(folder: Path) -> None:
            self.module.model.save_pretrained(folder / "model")

        write_encoder_folder(
            path,
            kind=self.kind,
            name=self.name,
            config=config,
            arrays=head,
            tokenizer_json=self.tokenizer.definition,
            fill=backbone,
        )

    def save_query_side(self, path: Path) -> None:
        """Write the whole encoder: a query needs the model too."""
        self.save(path)

    @classmethod
    def from_encoder_folder(
        cls, folder: EncoderFolder, *, device: str | None = None, dtype: str | None = None
    ) -> TermWeightEncoder:
        """Return the encoder that `save` wrote."""
        model = load_model(folder.path / "model", "none")
        size = int(model.config.vocab_size)
        config = folder.config
        tokenizer = TextTokenizer(
            folder.tokenizer_path.read_text(encoding="utf-8"),
            size=size,
            config=config["tokenizer"],
        )
        side = TermWeightSide(
            model,
            vocabulary_size=size,
            special_terms=torch.from_numpy(tokenizer.special_terms).long(),
            head_width=config["head_width"],
            saturation=config["saturation"],
        )
        state = {
            key: torch.from_numpy(folder.array(f"head.{key}", ndim=value.dim()))
            for key, value in side.head.state_dict().items()
        }
        side.head.load_state_dict(state)
        return cls(
            side,
            tokenizer,
            name=folder.name,
            options=TextOptions(**config["options"]),
            device=device,
            dtype=dtype,
        )
