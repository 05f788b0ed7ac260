"""Encoding without torch: an exported masked-LM run by ONNX Runtime.

The folder is our light format with a ``model.onnx`` (`lsr.encoders.onnx_export` writes it):
inputs ``input_ids`` and ``attention_mask``, output ``weights``, shape (batch, n_terms).
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from lsr.core.errors import EncoderError, MissingDependencyError, ModelFormatError
from lsr.core.settings import get_settings
from lsr.core.sparse import Int64Array, SparseMatrix, vstack
from lsr.encoders.batched import BatchedEncoder, TextOptions
from lsr.encoders.folder import EncoderFolder, write_encoder_folder
from lsr.encoders.tables import fingerprint
from lsr.encoders.tokenization import TextTokenizer

__all__ = ["MODEL_NAME", "OnnxEncoder"]

MODEL_NAME = "model.onnx"


class OnnxEncoder(BatchedEncoder):
    """An encoder whose two sides run one ONNX graph on the CPU.

    Parameters
    ----------
    model : Path
        The graph.
    tokenizer, name, options
        As for `BatchedEncoder`.
    one_by_one : bool
        Run every text alone. An 8-bit graph scales its activations by what is in the batch, and
        a vector must not depend on its batch mates.
    threads : int, optional
        Threads inside a batch; the setting ``LSR_THREADS`` otherwise.

    Raises
    ------
    MissingDependencyError
        If ONNX Runtime is not installed.
    ModelFormatError
        If the graph cannot be run, or has other inputs and outputs.
    """

    kind = "onnx"

    def __init__(
        self,
        model: Path,
        tokenizer: TextTokenizer,
        *,
        name: str,
        options: TextOptions,
        one_by_one: bool = False,
        threads: int | None = None,
    ) -> None:
        super().__init__(tokenizer, name=name, options=options)
        self.model = model
        self.one_by_one = one_by_one
        self._projection: Any = None
        self._session = _session(model, threads or get_settings().threads)

    @classmethod
    def from_folder(cls, folder: EncoderFolder) -> OnnxEncoder:
        """Return the encoder that `save_onnx` or `save` wrote."""
        config = folder.config
        tokenizer = TextTokenizer(
            folder.tokenizer_path.read_text(encoding="utf-8"),
            size=int(config["vocabulary_size"]),
            config=config["tokenizer"],
        )
        return cls(
            folder.path / MODEL_NAME,
            tokenizer,
            name=folder.name,
            options=TextOptions(**config["options"]),
            one_by_one=bool(config["one_by_one"]),
        )

    @staticmethod
    def config_of(encoder: BatchedEncoder, *, one_by_one: bool) -> dict[str, Any]:
        """Return what `from_folder` reads, for an encoder that was or is to be exported."""
        return {
            "options": encoder.options.as_dict(),
            "tokenizer": encoder.tokenizer.config,
            "vocabulary_size": len(encoder.vocabulary),
            "one_by_one": one_by_one,
        }

    @property
    def fingerprint(self) -> str:
        """Hash of the graph, the tokenizer and the options."""
        with open(self.model, "rb") as stream:
            graph = hashlib.file_digest(stream, "sha256").hexdigest()
        config = {
            **self.options.as_dict(),
            "graph": graph,
            "tokenizer": self.tokenizer.definition,
        }
        return fingerprint(config, {}, self.vocabulary)

    def save(self, path: Path) -> None:
        """Write the encoder into the new folder `path`."""

        def fill(folder: Path) -> None:
            shutil.copyfile(self.model, folder / MODEL_NAME)

        write_encoder_folder(
            path,
            kind=self.kind,
            name=self.name,
            config=self.config_of(self, one_by_one=self.one_by_one),
            arrays={},
            tokenizer_json=self.tokenizer.definition,
            fill=fill,
        )

    def save_query_side(self, path: Path) -> None:
        """Write the whole encoder: a query needs the model too."""
        self.save(path)

    def _run_batch(self, input_ids: Int64Array, mask: Int64Array) -> SparseMatrix:
        if not self.one_by_one:
            return self._run(input_ids, mask)
        lengths = mask.sum(axis=1).tolist()
        rows = [
            self._run(input_ids[at : at + 1, :length], mask[at : at + 1, :length])
            for at, length in enumerate(lengths)
        ]
        return vstack(rows, len(self.vocabulary))

    def _run(self, input_ids: Int64Array, mask: Int64Array) -> SparseMatrix:
        feed = {"input_ids": input_ids, "attention_mask": mask}
        (weights,) = self._session.run(["weights"], feed)
        return _matrix(weights)

    def _run_traced(
        self, input_ids: Int64Array, mask: Int64Array
    ) -> tuple[SparseMatrix, Int64Array]:
        """Return the rows of a batch and the position of the largest logit of each entry.

        The logits of the terms that were found are made once more, as in torch. The scale of a
        term's quantised weights is positive and the same at every position: it is left out.
        """
        table = self._table()
        lengths = mask.sum(axis=1).tolist()
        parts = [slice(at, at + 1) for at in range(len(lengths))]
        rows, states = [], []
        # The model for all texts, then the products for all: numpy's threads spin for a while when
        # their work is done, and would keep the processor from the model's after every text.
        for part in parts if self.one_by_one else [slice(None)]:
            width = max(lengths[part])
            feed = {"input_ids": input_ids[part, :width], "attention_mask": mask[part, :width]}
            weights, hidden = self._session.run(["weights", "hidden"], feed)
            rows.append(_matrix(weights))
            states.extend(hidden)
        matrix = vstack(rows, len(self.vocabulary))
        positions = np.empty(matrix.nnz, dtype=np.int64)
        for row, (state, length) in enumerate(zip(states, lengths, strict=True)):
            low, high = matrix.indptr[row], matrix.indptr[row + 1]
            of_terms = table[matrix.terms[low:high]].astype(np.float32)
            positions[low:high] = (state[:length] @ of_terms.T).argmax(axis=0)
        return matrix, positions

    def _table(self) -> Any:
        """Return the output projection, one row a term; read from the graph when first needed.

        Raises
        ------
        EncoderError
            If the graph was exported without it.
        """
        if self._projection is None:
            if not {"hidden", "table"} <= {o.name for o in self._session.get_outputs()}:
                raise EncoderError(
                    f"{self.model} was exported by a release that kept no positions.",
                    hint="Export the encoder again: lsr.encoders.onnx_export.save_light.",
                )
            one = np.zeros((1, 1), dtype=np.int64)
            feed = {"input_ids": one, "attention_mask": one + 1}
            (self._projection,) = self._session.run(["table"], feed)
        return self._projection


def _matrix(weights: Any) -> SparseMatrix:
    at = np.flatnonzero(weights.reshape(-1) > 0)
    rows, terms = np.divmod(at, weights.shape[1])
    indptr = np.zeros(len(weights) + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=len(weights)), out=indptr[1:])
    return SparseMatrix(
        indptr, terms.astype(np.int32), weights.reshape(-1)[at], tuple(weights.shape)
    )


def _session(model: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError(
            "onnxruntime", extra="onnx", purpose=f"Running the model {model}"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        raise ModelFormatError(f"{model} cannot be run: {error}") from error
    inputs = {i.name for i in session.get_inputs()}
    outputs = {o.name for o in session.get_outputs()}
    if inputs != {"input_ids", "attention_mask"} or "weights" not in outputs:
        raise ModelFormatError(
            f"{model} has inputs {sorted(inputs)} and outputs {sorted(outputs)}; expected are "
            "input_ids and attention_mask, and weights.",
            hint="Export it with lsr.encoders.onnx_export.save_onnx.",
        )
    return session
