"""Our own light format of an encoder: a folder that loads without torch.

::

    ENCODER/
      manifest.json          kind "encoder": origin, checksums
      lsr_encoder.json       which encoder it is, and its config
      vocabulary.json        tokens by term, or
      tokenizer.json         the tokenizer they come from
      tables.safetensors     weights by term

Models that need torch are saved as sentence-transformers folders instead, which others read too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsr.core.artifact import check_artifact, read_manifest, write_artifact
from lsr.core.errors import ArtifactCorruptedError, ModelFormatError
from lsr.core.manifest import Manifest
from lsr.core.vocabulary import Vocabulary

__all__ = ["ENCODER_FORMAT", "ENCODER_NAME", "EncoderFolder", "write_encoder_folder"]

ENCODER_FORMAT = 1
ENCODER_NAME = "lsr_encoder.json"
_TABLES = "tables.safetensors"
_TOKENIZER = "tokenizer.json"
_VOCABULARY = "vocabulary.json"


class EncoderFolder:
    """An open folder of the light format.

    Attributes
    ----------
    path : Path
        The folder.
    kind : str
        Which class reads it: ``"lexical"``, ``"lookup"``, …
    name : str
        How messages call the encoder.
    config : dict
        What the class wrote.

    Raises
    ------
    ArtifactFormatError, ArtifactCorruptedError
        If the folder is of another format version, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        manifest = read_manifest(self.path, kind="encoder", format_version=ENCODER_FORMAT)
        check_artifact(self.path, manifest)
        file = self.path / ENCODER_NAME
        try:
            description = json.loads(file.read_text(encoding="utf-8"))
            self.kind = str(description["kind"])
            self.name = str(description["name"])
            self.config: dict[str, Any] = dict(description["config"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactCorruptedError(
                f"{file} does not describe an encoder: {error!r}.", hint="Save the encoder again."
            ) from error
        self._arrays: dict[str, NDArray[Any]] | None = None

    def vocabulary(self) -> Vocabulary:
        """Return the stored vocabulary."""
        return Vocabulary.load(self.path / _VOCABULARY)

    @property
    def tokenizer_path(self) -> Path:
        """Where the tokenizer is, if the encoder has one."""
        return self.path / _TOKENIZER

    def array(self, name: str, *, ndim: int) -> NDArray[np.float32]:
        """Return one table as float32 (int8 and float16 tables are widened).

        Raises
        ------
        ModelFormatError
            If the folder lacks the table, or it has another number of dimensions.
        """
        if self._arrays is None:
            self._arrays = _read_tables(self.path / _TABLES)
        array = self._arrays.get(name)
        if array is None or array.ndim != ndim:
            seen = "is missing" if array is None else f"has shape {array.shape}"
            raise ModelFormatError(
                f"The encoder at {self.path} is unusable: table {name!r} {seen}.",
                hint="Save the encoder again with this release.",
            )
        widened: NDArray[np.float32] = array.astype(np.float32)
        scale = self._arrays.get(f"{name}.scale")
        if scale is not None:
            widened *= scale.astype(np.float32)
        return widened


def _read_tables(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ArtifactCorruptedError(
            f"{path} cannot be read: {error}.", hint="Restore it from a copy or save it again."
        ) from error


def write_encoder_folder(
    path: Path,
    *,
    kind: str,
    name: str,
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    vocabulary: Vocabulary | None = None,
    tokenizer_json: str | None = None,
    fill: Callable[[Path], None] | None = None,
) -> None:
    """Write a folder of the light format, atomically.

    Parameters
    ----------
    path : Path
        The new folder.
    kind, name, config
        As in `EncoderFolder`.
    arrays : mapping of str to array
        Tables, any dtype safetensors knows; ``X.scale`` multiplies ``X`` when it is read.
    vocabulary : Vocabulary, optional
        Stored where no tokenizer carries it.
    tokenizer_json : str, optional
        A ``tokenizers`` file.
    fill : callable, optional
        Called with the folder while it is written, to put further files into it.

    Raises
    ------
    ArtifactExistsError, StorageError
        If `path` is taken, or the disk refuses.
    """
    from safetensors.numpy import save

    manifest = Manifest.new("encoder", ENCODER_FORMAT, details={"kind": kind, "name": name})
    description = {"kind": kind, "name": name, "config": dict(config)}
    with write_artifact(Path(path), manifest, overwrite=False) as writer:
        writer.text(ENCODER_NAME, json.dumps(description, indent=1, ensure_ascii=False) + "\n")
        if vocabulary is not None:
            vocabulary.save(writer.path / _VOCABULARY)
        if tokenizer_json is not None:
            writer.text(_TOKENIZER, tokenizer_json)
        if arrays:
            tables = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
            (writer.path / _TABLES).write_bytes(save(tables))
        if fill is not None:
            fill(writer.path)
