"""Smaller and faster ONNX graphs: 8-bit weights and products, or 16-bit storage.

``int8``: weights are stored in 8 bits with a scale a column, activations are quantised as they
come, products run in integers. One bit of the weights is left unused, because processors without
VNNI saturate their 16-bit sums otherwise. The maximum over positions commutes with the scales,
so the projection is pooled in integers and scaled once a text.

``float16`` changes what the file holds, not what is computed: ONNX Runtime widens it once, when
it loads the graph.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lsr.core.sparse import Float32Array

__all__ = ["QUANTUM", "halve_storage", "quantize_embedding", "quantize_layers", "quantize_rows"]

QUANTUM = 63
"""The largest quantised weight: 7 bits with a sign."""


def quantize_rows(table: Float32Array) -> tuple[np.ndarray[Any, np.dtype[np.int8]], Float32Array]:
    """Return int8 values in ±`QUANTUM` and the scale of each row."""
    scales = np.abs(table).max(axis=1) / QUANTUM
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.round(table / scales[:, None]).astype(np.int8), scales


def quantize_layers(model: Any, onnx: Any) -> Any:
    """Return the graph with every product with a constant matrix done in 8 bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as folder:
        plain, quantized = Path(folder) / "plain.onnx", Path(folder) / "quantized.onnx"
        onnx.save(model, str(plain))
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # advice about convolutions, given to the root logger
        try:
            quantize_dynamic(
                str(plain),
                str(quantized),
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.disable(before)
        return onnx.load(str(quantized))


def quantize_embedding(graph: Any, name: str, *, table: str, scales: str, onnx: Any) -> None:
    """Replace the float constant `name` by the int8 constant `table`, scaled row by row."""
    node = onnx.helper.make_node
    nodes = []
    for old in graph.node:
        if old.op_type != "Gather" or old.input[0] != name:
            nodes.append(old)
            continue
        ids, out = old.input[1], old.output[0]
        nodes += [
            node("Gather", [table, ids], [f"{out}_int8"]),
            node("Cast", [f"{out}_int8"], [f"{out}_cast"], to=onnx.TensorProto.FLOAT),
            node("Gather", [scales, ids], [f"{out}_scale"]),
            node("Unsqueeze", [f"{out}_scale", "last_axis"], [f"{out}_scale_wide"]),
            node("Mul", [f"{out}_cast", f"{out}_scale_wide"], [out]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    if not any(name in old.input for old in graph.node):
        graph.initializer.remove(next(i for i in graph.initializer if i.name == name))


def halve_storage(graph: Any, onnx: Any, *, at_least: int = 1024) -> None:
    """Store the float32 constants of `at_least` values in float16, widened by a Cast."""
    casts = []
    for constant in graph.initializer:
        array = onnx.numpy_helper.to_array(constant)
        if array.dtype != np.float32 or array.size < at_least:
            continue
        name = constant.name
        half = onnx.numpy_helper.from_array(array.astype(np.float16), f"{name}_float16")
        constant.CopyFrom(half)
        casts.append(onnx.helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
