"""A masked-LM encoder as one ONNX graph: token ids in, term weights out, pooling included.

The transformer is traced by torch; projection, maximum and saturation are appended by hand as a
``Scan`` over the texts of a batch, so that the logits of one text stand in memory at a time, not
those of the batch. The embedding matrix is stored once for both its uses.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lsr.core.errors import (
    ArgumentError,
    EncoderError,
    MissingDependencyError,
    ModelFormatError,
)
from lsr.core.sparse import Float32Array
from lsr.encoders.base import Encoder, QueryEncoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.folder import EncoderFolder, write_encoder_folder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.lexical_channel import LexicalChannelEncoder
from lsr.encoders.loading import load_encoder
from lsr.encoders.onnx_encoder import MODEL_NAME, OnnxEncoder
from lsr.encoders.onnx_quantize import (
    halve_storage,
    quantize_embedding,
    quantize_layers,
    quantize_rows,
)
from lsr.encoders.splade import MaskedLMEncoder
from lsr.encoders.torch_sides import MaskedLMSide

__all__ = ["save_light", "save_onnx"]

_OPSET = 17


def save_onnx(
    encoder: MaskedLMEncoder,
    path: Path,
    *,
    name: str | None = None,
    weights: str = "float32",
) -> None:
    """Write `encoder` as a folder that `OnnxEncoder` runs without torch.

    Parameters
    ----------
    encoder : MaskedLMEncoder
        Either side of it, or both. Left on the CPU.
    path : Path
        The new folder.
    name : str, optional
        How the new encoder is called; as the old one otherwise.
    weights : {"float32", "float16", "int8"}
        ``"float16"`` halves the file and computes in float32; ``"int8"`` quarters it and computes
        in integers: faster on most processors, at a small loss. See `lsr.encoders.onnx_quantize`.

    Raises
    ------
    ArgumentError
        If `weights` is none of the three.
    MissingDependencyError
        If the package ``onnx``, or for int8 ``onnxruntime``, is not installed.
    ModelFormatError
        If torch cannot trace the model.
    ArtifactExistsError, StorageError
        If `path` is taken, or the disk refuses.
    """
    if weights not in ("float32", "float16", "int8"):
        raise ArgumentError(f"weights must be float32, float16 or int8, got {weights!r}.")
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, extra="train", purpose="Exporting to ONNX")
    import onnx

    encoder.module.to("cpu").eval()
    model = _trace(encoder, onnx)
    if weights == "int8":
        model = quantize_layers(model, onnx)
    _append_pooling(model.graph, encoder.module, onnx, int8=weights == "int8")
    if weights == "float16":
        halve_storage(model.graph, onnx)
    onnx.checker.check_model(model)

    def fill(folder: Path) -> None:
        onnx.save(model, str(folder / MODEL_NAME))

    config = OnnxEncoder.config_of(encoder, one_by_one=weights == "int8")
    write_encoder_folder(
        path,
        kind=OnnxEncoder.kind,
        name=name or encoder.name,
        config=config,
        arrays={},
        tokenizer_json=encoder.tokenizer.definition,
        fill=fill,
    )


def save_light(
    encoder: QueryEncoder, path: Path, *, name: str | None = None, weights: str = "int8"
) -> None:
    """Write a whole encoder that runs without torch: ONNX documents, its query table as it is.

    Parameters
    ----------
    encoder : MaskedLMEncoder, ComposedEncoder or LexicalChannelEncoder
        A siamese masked-LM, or a masked-LM document side with a query table; a lexical channel
        beside either stays as it is.
    path : Path
        The new folder.
    name : str, optional
        How the new encoder is called; as the old one otherwise.
    weights : {"float32", "float16", "int8"}
        As for `save_onnx`.

    Raises
    ------
    EncoderError
        If the encoder is of another kind.
    """
    if isinstance(encoder, MaskedLMEncoder):
        save_onnx(encoder, path, name=name, weights=weights)
        return
    if isinstance(encoder, LexicalChannelEncoder):
        with TemporaryDirectory() as folder:
            save_light(encoder.learned, Path(folder) / "learned", weights=weights)
            learned = load_encoder(Path(folder) / "learned")
            assert isinstance(learned, Encoder)  # what is exported has both sides
            encoder.with_learned(learned, name=name).save(path)
        return
    if not (
        isinstance(encoder, ComposedEncoder)
        and isinstance(encoder.query, LookupQueryEncoder)
        and isinstance(encoder.document, MaskedLMEncoder)
    ):
        raise EncoderError(
            f"The encoder {encoder.name!r} cannot be exported to run without torch.",
            hint="A masked-LM can, alone or with a query table.",
        )
    name = name or encoder.name
    with TemporaryDirectory() as folder:
        save_onnx(encoder.document, Path(folder) / "document", weights=weights)
        document = OnnxEncoder.from_folder(EncoderFolder(Path(folder) / "document"))
        ComposedEncoder(encoder.query, document, name=name).save(path)


class _Hidden(nn.Module):
    def __init__(self, side: MaskedLMSide) -> None:
        super().__init__()
        self.side = side

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.side.hidden(input_ids, attention_mask)


def _trace(encoder: MaskedLMEncoder, onnx: Any) -> Any:
    model = encoder.module.model
    attention = model.config._attn_implementation
    ids = torch.full((2, 7), encoder.tokenizer.pad_id, dtype=torch.long)
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 5:] = 0
    axes = {0: "batch", 1: "length"}
    try:
        # The fused attention is traced with its batch size as a constant; the plain one is not.
        model.set_attn_implementation("eager")
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = Path(folder) / "hidden.onnx"
            torch.onnx.export(
                _Hidden(encoder.module).eval(),
                (ids, mask),
                file,
                input_names=["input_ids", "attention_mask"],
                output_names=["hidden"],
                dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes},
                opset_version=_OPSET,
                dynamo=False,
            )
            return onnx.load(str(file))
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        raise ModelFormatError(f"torch cannot export {type(model).__name__}: {error}") from error
    finally:
        model.set_attn_implementation(attention)


def _append_pooling(graph: Any, side: MaskedLMSide, onnx: Any, *, int8: bool) -> None:
    """Replace the output ``hidden`` by ``weights``, shape (batch, n_terms)."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    float_type = onnx.TensorProto.FLOAT
    terms, width = side.decoder.weight.shape
    bias = side.decoder.bias if side.decoder.bias is not None else torch.zeros(terms)
    constant = _Constants(graph, onnx)
    constant.add("projection_bias", bias.detach().numpy())
    constant.add("one", np.ones(1, dtype=np.float32))
    constant.add("first", np.zeros(1, dtype=np.int64))
    constant.add("last_axis", np.full(1, -1, dtype=np.int64))
    table = (
        constant.quantized(side.decoder.weight) if int8 else constant.shared(side.decoder.weight)
    )
    mask_type = onnx.TensorProto.BOOL if side.pooling == "max" else float_type
    nodes = [
        node("Transpose", [table], ["projection_by_term"], perm=[1, 0]),
        node("Cast", ["attention_mask"], ["keep"], to=mask_type),
        node("Unsqueeze", ["keep", "last_axis"], ["keep_wide"]),
    ]
    row = [value("row", float_type, [None, width])]
    body = [node("MatMul", ["row", "projection_by_term"], ["row_product"])]
    scaled = []
    if int8:
        body = [
            node("DynamicQuantizeLinear", ["row"], ["row_int8", "row_scale", "row_zero"]),
            node("MatMulInteger", ["row_int8", "projection_by_term", "row_zero"], ["row_product"]),
        ]
        scaled = [
            node("Mul", ["projection_scale", "row_scale"], ["row_scales"]),
            node("Cast", ["row_reduced"], ["row_cast"], to=float_type),
            node("Mul", ["row_cast", "row_scales"], ["row_scaled"]),
        ]
    if side.pooling == "max":
        # As in torch: padding becomes a copy of the first position, and the maximum comes first;
        # the scales of the integers are positive, so it comes before them too.
        nodes += [
            node("Gather", ["hidden", "first"], ["hidden_first"], axis=1),
            node("Where", ["keep_wide", "hidden", "hidden_first"], ["hidden_filled"]),
        ]
        body += [
            node("ReduceMax", ["row_product"], ["row_reduced"], axes=[0], keepdims=0),
            *scaled,
            node("Identity", ["row_scaled" if int8 else "row_reduced"], ["row_pooled"]),
        ]
        inputs = ["hidden_filled"]
        after = [
            node("Add", ["pooled", "projection_bias"], ["pooled_logits"]),
            node("Relu", ["pooled_logits"], ["saturated_0"]),
            *_saturation(node, "saturated", side.saturation),
            node("Identity", [f"saturated_{side.saturation}"], ["weights"]),
        ]
    else:
        row.append(value("row_keep", float_type, [None, 1]))
        body += [
            node("Identity", ["row_product"], ["row_reduced"]),
            *scaled,
            node(
                "Add", ["row_scaled" if int8 else "row_reduced", "projection_bias"], ["row_logit"]
            ),
            node("Relu", ["row_logit"], ["row_saturated_0"]),
            *_saturation(node, "row_saturated", side.saturation),
            node("Mul", [f"row_saturated_{side.saturation}", "row_keep"], ["row_kept"]),
            node("ReduceSum", ["row_kept", "first"], ["row_pooled"], keepdims=0),
        ]
        inputs = ["hidden", "keep_wide"]
        after = [node("Identity", ["pooled"], ["weights"])]
    pooled = [value("row_pooled", float_type, [terms])]
    scan = node(
        "Scan",
        inputs,
        ["pooled"],
        body=onnx.helper.make_graph(body, "pool_one_text", row, pooled),
        num_scan_inputs=len(inputs),
    )
    graph.node.extend([*nodes, scan, *after])
    del graph.output[:]
    graph.output.append(value("weights", float_type, ["batch", terms]))
    # What tells the positions (`OnnxEncoder.encode_with_origins`); costs nothing unless fetched.
    graph.output.append(value("hidden", float_type, ["batch", "length", width]))
    graph.node.append(node("Identity", [table], ["table"]))
    table_type = onnx.TensorProto.INT8 if int8 else float_type
    graph.output.append(value("table", table_type, [terms, width]))


def _saturation(node: Any, name: str, times: int) -> list[Any]:
    nodes = []
    for step in range(times):
        nodes.append(node("Add", [f"{name}_{step}", "one"], [f"{name}_{step}_plus"]))
        nodes.append(node("Log", [f"{name}_{step}_plus"], [f"{name}_{step + 1}"]))
    return nodes


class _Constants:
    def __init__(self, graph: Any, onnx: Any) -> None:
        self.graph = graph
        self.onnx = onnx

    def add(self, name: str, array: Any) -> str:
        self.graph.initializer.append(
            self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        )
        return name

    def shared(self, tensor: Tensor) -> str:
        """Return the name of an equal constant of the graph, added if there is none."""
        array: Float32Array = tensor.detach().numpy()
        return self._equal(array) or self.add("projection", array)

    def quantized(self, tensor: Tensor) -> str:
        """Add the int8 form of a table; look-ups in the same float table read it too."""
        array: Float32Array = tensor.detach().numpy()
        known = self._equal(array)
        integers, scales = quantize_rows(array)
        self.add("projection", integers)
        self.add("projection_scale", scales)
        if known is not None:
            quantize_embedding(
                self.graph, known, table="projection", scales="projection_scale", onnx=self.onnx
            )
        return "projection"

    def _equal(self, array: Float32Array) -> str | None:
        for known in self.graph.initializer:
            if list(known.dims) == list(array.shape) and np.array_equal(
                self.onnx.numpy_helper.to_array(known), array
            ):
                return str(known.name)
        return None
