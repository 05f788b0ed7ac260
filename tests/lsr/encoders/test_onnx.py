import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from lsr.core.errors import ArgumentError, EncoderError, ModelFormatError
from lsr.encoders import LexicalChannelEncoder, add_lexical, load_encoder
from lsr.encoders.batched import TextOptions
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.onnx_encoder import OnnxEncoder
from lsr.encoders.splade import MaskedLMEncoder
from tests.helpers.tiny_model import TEXTS, tiny_masked_lm

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CPU = {"device": "cpu", "dtype": "float32"}


def save(encoder: MaskedLMEncoder, path: Path, weights: Any = "float32") -> Path:
    from lsr.encoders.onnx_export import save_onnx

    save_onnx(encoder, path, weights=weights)
    return path


def constant_bytes(model: Path) -> int:
    import onnx

    return sum(len(i.raw_data) for i in onnx.load(model).graph.initializer)


@pytest.fixture(scope="module")
def torch_encoder(masked_lm_path: Path) -> MaskedLMEncoder:
    return MaskedLMEncoder.from_folder(masked_lm_path, **CPU)


@pytest.fixture(scope="module")
def exported(torch_encoder: MaskedLMEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(torch_encoder, tmp_path_factory.mktemp("onnx") / "model")


@pytest.mark.parametrize(("pooling", "saturation"), [("max", 1), ("max", 2), ("sum", 2)])
def test_vectors_are_those_of_torch(
    masked_lm_path: Path, tmp_path: Path, pooling: Literal["max", "sum"], saturation: int
) -> None:
    torch_encoder = MaskedLMEncoder.from_folder(
        masked_lm_path, pooling=pooling, saturation=saturation, **CPU
    )
    before = torch_encoder.encode_documents(TEXTS)
    made = load_encoder(save(torch_encoder, tmp_path / "model"))
    assert isinstance(made, OnnxEncoder)
    for batch_size in (1, 3, 32):
        got = made.encode_documents([*TEXTS, ""], batch_size=batch_size).check()
        expected = torch_encoder.encode_documents([*TEXTS, ""])
        np.testing.assert_allclose(
            got.to_scipy().toarray(), expected.to_scipy().toarray(), atol=1e-4
        )
    assert torch_encoder.encode_documents(TEXTS) == before  # exporting leaves it whole


@pytest.mark.parametrize("architecture", ["distilbert", "roberta"])
def test_other_architectures(tmp_path: Path, architecture: str) -> None:
    folder = tiny_masked_lm(tmp_path / architecture, architecture=architecture)
    torch_encoder = MaskedLMEncoder.from_folder(folder, **CPU)
    made = load_encoder(save(torch_encoder, tmp_path / "model"))
    assert isinstance(made, OnnxEncoder)
    np.testing.assert_allclose(
        made.encode_documents(TEXTS).to_scipy().toarray(),
        torch_encoder.encode_documents(TEXTS).to_scipy().toarray(),
        atol=1e-4,
    )


def test_the_embedding_matrix_is_stored_once(
    exported: Path, torch_encoder: MaskedLMEncoder
) -> None:
    import onnx

    shape = list(torch_encoder.module.decoder.weight.shape)
    graph = onnx.load(exported / "model.onnx").graph
    assert [list(i.dims) for i in graph.initializer].count(shape) == 1


def test_saved_and_loaded(exported: Path, tmp_path: Path) -> None:
    made = load_encoder(exported)
    assert isinstance(made, OnnxEncoder)
    made.options = TextOptions(8, 16, document_prompt="the ", max_active_dims=20)
    made.save(tmp_path / "again")
    again = load_encoder(tmp_path / "again")
    assert isinstance(again, OnnxEncoder)
    assert again.options == made.options
    assert again.fingerprint == made.fingerprint
    assert again.encode_documents(TEXTS) == made.encode_documents(TEXTS)


def test_documents_by_onnx_and_queries_by_a_table_need_no_torch(
    exported: Path, tmp_path: Path
) -> None:
    document = load_encoder(exported)
    assert isinstance(document, OnnxEncoder)
    query = LookupQueryEncoder.binary(document.tokenizer)
    ComposedEncoder(query, document, name="light").save(tmp_path / "light")
    code = (
        "import sys; from lsr.encoders import load_encoder; "
        f"e = load_encoder({str(tmp_path / 'light')!r}); "
        "e.encode_queries(['the cat']); e.encode_documents(['the cat', 'a river of stone']); "
        "bad = {'torch', 'transformers', 'onnx'} & set(sys.modules);"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_foreign_graph_is_refused(exported: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(exported / "model.onnx")
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            if name == "weights":
                node.output[at] = "other"
    model.graph.output[0].name = "other"
    onnx.save(model, tmp_path / "model.onnx")
    made = load_encoder(exported)
    assert isinstance(made, OnnxEncoder)
    with pytest.raises(ModelFormatError, match="'other'"):
        OnnxEncoder(tmp_path / "model.onnx", made.tokenizer, name="x", options=TextOptions(8, 8))
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelFormatError, match="cannot be run"):
        OnnxEncoder(tmp_path / "model.onnx", made.tokenizer, name="x", options=TextOptions(8, 8))


@pytest.mark.parametrize(
    ("weights", "share", "error"), [("float16", 0.6, 0.005), ("int8", 0.5, 0.12)]
)
@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_small_graphs_are_near(
    masked_lm_path: Path,
    exported: Path,
    tmp_path: Path,
    weights: str,
    share: float,
    error: float,
    pooling: Literal["max", "sum"],
) -> None:
    torch_encoder = MaskedLMEncoder.from_folder(masked_lm_path, pooling=pooling, **CPU)
    made = load_encoder(save(torch_encoder, tmp_path / "small", weights))
    assert isinstance(made, OnnxEncoder)
    assert constant_bytes(made.model) < share * constant_bytes(exported / "model.onnx")
    got = made.encode_documents(TEXTS).to_scipy().toarray()
    expected = torch_encoder.encode_documents(TEXTS).to_scipy().toarray()
    # Random weights are far wider than trained ones: this is the worst case, not the usual one.
    assert np.abs(got - expected).mean() < error * expected.mean()
    alone = [made.encode_documents([text]).to_scipy().toarray()[0] for text in TEXTS]
    np.testing.assert_allclose(got, alone, atol=1e-5)


def test_unknown_storage_is_refused(torch_encoder: MaskedLMEncoder, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="int4"):
        save(torch_encoder, tmp_path / "x", "int4")


def test_a_whole_encoder_is_exported(torch_encoder: MaskedLMEncoder, tmp_path: Path) -> None:
    from lsr.encoders.onnx_export import save_light

    query = LookupQueryEncoder.binary(torch_encoder.tokenizer, name="ones")
    pair = ComposedEncoder(query, torch_encoder, name="pair")
    save_light(pair, tmp_path / "pair", weights="float32")
    made = load_encoder(tmp_path / "pair")
    assert isinstance(made, ComposedEncoder)
    assert isinstance(made.document, OnnxEncoder)
    assert (made.name, made.query.name) == ("pair", "ones")
    assert made.encode_queries(TEXTS) == pair.encode_queries(TEXTS)
    np.testing.assert_allclose(
        made.encode_documents(TEXTS).to_scipy().toarray(),
        pair.encode_documents(TEXTS).to_scipy().toarray(),
        atol=1e-4,
    )
    save_light(torch_encoder, tmp_path / "siamese", name="small")
    assert load_encoder(tmp_path / "siamese").name == "small"
    channel = add_lexical(pair, TEXTS, weight=0.7, max_terms=20, name="both")
    save_light(channel, tmp_path / "both", weights="float32", name="light")
    light = load_encoder(tmp_path / "both")
    assert isinstance(light, LexicalChannelEncoder)
    assert (light.name, light.weight, light.max_terms) == ("light", 0.7, 20)
    assert light.lexical.fingerprint == channel.lexical.fingerprint
    assert light.encode_queries(TEXTS) == channel.encode_queries(TEXTS)
    assert light.encode_documents(TEXTS) == channel.with_learned(made).encode_documents(TEXTS)
    with pytest.raises(EncoderError, match="cannot be exported"):
        save_light(channel.lexical, tmp_path / "no")
    with pytest.raises(EncoderError, match="cannot be exported"):
        save_light(query, tmp_path / "no")
