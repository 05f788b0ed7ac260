"""A cross-encoder as a live teacher: query and document read together, one score.

Its scores are computed in the step, for a query's own documents; the pairs are put together from
the token tables, so no text is tokenised again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.errors import ModelFormatError
from lsr.training.config import CrossEncoderTeacher
from lsr.training.network import model_folder
from lsr.training.pair_table import PairTable
from lsr.training.teachers import token_mapping
from lsr.training.tokens import DeviceTokens

__all__ = ["CrossEncoder"]


class CrossEncoder:
    """Scores pairs with a Hugging Face sequence classifier.

    Parameters
    ----------
    config : CrossEncoderTeacher
        Model folder, lengths.
    pairs : PairTable
        Whose texts.
    device : torch.device
        bf16 on CUDA, float32 elsewhere.

    Raises
    ------
    ModelFormatError
        If the model has more than one output, or another vocabulary.
    """

    def __init__(self, config: CrossEncoderTeacher, pairs: PairTable, device: torch.device) -> None:
        from transformers import AutoModelForSequenceClassification

        folder = model_folder(config.model)
        mapping, special = token_mapping(folder, pairs)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, use_safetensors=True
        )
        if model.config.num_labels != 1:
            raise ModelFormatError(
                f"The cross-encoder {folder} has {model.config.num_labels} outputs, not 1."
            )
        self._model = model.to(device).eval()
        self._segments = int(getattr(model.config, "type_vocab_size", 1) or 1) > 1
        self._queries = DeviceTokens(pairs.queries, special, device, mapping=mapping)
        self._passages = DeviceTokens(pairs.passages, special, device, mapping=mapping)
        self._max_tokens = config.max_tokens
        self._batch = config.batch_pairs

    @torch.no_grad()
    def scores(self, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> Tensor:
        """Return one score a document, float32, shape (N, G).

        Parameters
        ----------
        queries : int64, shape (N,)
        documents : int64, shape (N, G)
        """
        n, g = documents.shape
        of_query = np.repeat(queries, g)
        flat = documents.reshape(-1)
        out = [
            self._pairs(of_query[at : at + self._batch], flat[at : at + self._batch])
            for at in range(0, n * g, self._batch)
        ]
        return torch.cat(out).view(n, g)

    def _pairs(self, queries: NDArray[np.int64], documents: NDArray[np.int64]) -> Tensor:
        q = self._queries.batch(queries, self._max_tokens // 2)
        d = self._passages.batch(documents, self._max_tokens - q.ids.shape[1] + 1)
        # [CLS] query [SEP] document [SEP]: the document without its [CLS]; padding between the
        # two is masked, and positions count tokens only.
        ids = torch.cat([q.ids, d.ids[:, 1:]], dim=1)
        mask = torch.cat([q.mask, d.mask[:, 1:]], dim=1)
        inputs: dict[str, Tensor] = {"input_ids": ids, "attention_mask": mask}
        inputs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
        if self._segments:
            segments = torch.zeros_like(ids)
            segments[:, q.ids.shape[1] :] = mask[:, q.ids.shape[1] :]
            inputs["token_type_ids"] = segments
        scores: Tensor = self._model(**inputs).logits.squeeze(-1)
        return scores.float()
