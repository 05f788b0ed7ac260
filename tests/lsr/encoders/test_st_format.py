"""Both directions against the real sentence-transformers package."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsr.core.errors import ModelFormatError
from lsr.core.sparse import SparseMatrix
from lsr.encoders import Encoder, encode_collection, load_encoder
from lsr.encoders.batched import TextOptions
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.splade import MaskedLMEncoder
from tests.helpers.tiny_model import TEXTS, tiny_masked_lm

st = pytest.importorskip("sentence_transformers")
modules = pytest.importorskip("sentence_transformers.sparse_encoder.modules")
pytestmark = pytest.mark.filterwarnings("ignore")

CPU = {"device": "cpu", "dtype": "float32"}


def assert_agree(encoder: Any, other: Any, texts: list[str] = TEXTS) -> None:
    """Vectors of both sides agree to 1e-4 (empty texts, ours alone, are left out)."""
    pairs = [
        (encoder.encode_queries(texts), other.encode_query(texts, show_progress_bar=False)),
        (encoder.encode_documents(texts), other.encode_document(texts, show_progress_bar=False)),
    ]
    for mine, theirs in pairs:
        assert isinstance(mine, SparseMatrix)
        expected = theirs.to_dense().float().numpy()
        np.testing.assert_allclose(mine.to_scipy().toarray(), expected, atol=1e-4)
        assert mine.nnz > 0


def transformer(path: Path) -> Any:
    return modules.Transformer(str(path), transformer_task="fill-mask")


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("pooling", ["max", "sum"])
def test_siamese_folders_of_theirs(
    masked_lm_path: Path, tmp_path: Path, activation: Any, pooling: Any
) -> None:
    theirs = st.SparseEncoder(
        modules=[
            transformer(masked_lm_path),
            modules.SpladePooling(pooling, activation_function=activation),
        ],
        prompts={"query": "search the ", "document": ""},
        device="cpu",
    )
    theirs.max_seq_length = 12
    theirs.save_pretrained(str(tmp_path / "model"))
    mine = load_encoder(tmp_path / "model", **CPU)
    assert isinstance(mine, MaskedLMEncoder)
    assert mine.options.document_max_length == 12
    assert_agree(mine, theirs)


def test_plain_folders_as_they_load_them(masked_lm_path: Path) -> None:
    theirs = st.SparseEncoder(str(masked_lm_path), device="cpu")
    assert_agree(load_encoder(masked_lm_path, **CPU), theirs)


def test_inference_free_folders_of_theirs(masked_lm_path: Path, tmp_path: Path) -> None:
    document = transformer(masked_lm_path)
    weight = torch.rand(document.tokenizer.vocab_size) - 0.1
    router = modules.Router.for_query_document(
        [modules.SparseStaticEmbedding(document.tokenizer, weight=weight.clamp(min=0))],
        [document, modules.SpladePooling("max", activation_function="log1p_relu")],
    )
    theirs = st.SparseEncoder(modules=[router], device="cpu")
    theirs.save_pretrained(str(tmp_path / "model"))
    mine = load_encoder(tmp_path / "model", **CPU)
    assert isinstance(mine, ComposedEncoder)
    assert isinstance(mine.query, LookupQueryEncoder)
    assert mine.idf == "query"
    assert_agree(mine, theirs)


def test_two_models_of_theirs(masked_lm_path: Path, tmp_path: Path) -> None:
    small = tiny_masked_lm(tmp_path / "small", seed=5, num_hidden_layers=1)
    router = modules.Router.for_query_document(
        [transformer(small), modules.SpladePooling("max")],
        [transformer(masked_lm_path), modules.SpladePooling("max")],
    )
    theirs = st.SparseEncoder(modules=[router], device="cpu")
    theirs.save_pretrained(str(tmp_path / "model"))
    assert_agree(load_encoder(tmp_path / "model", **CPU), theirs)


@pytest.mark.parametrize("saturation", [1, 2])
def test_siamese_folders_of_ours(masked_lm_path: Path, tmp_path: Path, saturation: int) -> None:
    mine = MaskedLMEncoder.from_folder(
        masked_lm_path,
        saturation=saturation,
        options=TextOptions(12, 12, query_prompt="search the "),
        **CPU,
    )
    before = mine.encode_documents(TEXTS)
    mine.save(tmp_path / "model")
    assert mine.encode_documents(TEXTS) == before  # saving leaves the encoder whole
    assert_agree(mine, st.SparseEncoder(str(tmp_path / "model"), device="cpu"))
    again = load_encoder(tmp_path / "model", **CPU)
    assert isinstance(again, MaskedLMEncoder)
    assert again.options == mine.options
    assert again.name == mine.name
    assert again.encode_documents(TEXTS) == before


def test_lengths_of_both_sides_survive(masked_lm_path: Path, tmp_path: Path) -> None:
    options = TextOptions(6, 20, max_active_dims=9)
    mine = MaskedLMEncoder.from_folder(masked_lm_path, options=options, **CPU)
    mine.save(tmp_path / "model")
    again = load_encoder(tmp_path / "model", **CPU)
    assert isinstance(again, MaskedLMEncoder)
    assert again.options == options


def composed(masked_lm_path: Path) -> ComposedEncoder:
    document = MaskedLMEncoder.from_folder(
        masked_lm_path, options=TextOptions(64, 16), saturation=2, **CPU
    )
    weights = np.random.default_rng(3).gamma(2, 1, len(document.vocabulary)).astype(np.float32)
    weights[document.tokenizer.special_terms] = 0
    query = LookupQueryEncoder(document.tokenizer, weights, name="idf", max_length=10)
    return ComposedEncoder(query, document, name="free")


def test_inference_free_folders_of_ours(masked_lm_path: Path, tmp_path: Path) -> None:
    mine = composed(masked_lm_path)
    mine.save(tmp_path / "model")
    assert_agree(mine, st.SparseEncoder(str(tmp_path / "model"), device="cpu"))
    again = load_encoder(tmp_path / "model", **CPU)
    assert isinstance(again, Encoder)
    assert again.name == "free"
    assert again.encode_queries(TEXTS) == mine.encode_queries(TEXTS)
    assert again.encode_documents(TEXTS) == mine.encode_documents(TEXTS)
    assert isinstance(again, ComposedEncoder)
    assert again.query.fingerprint == mine.query.fingerprint


def test_the_function_of_repeats_stays_with_the_folder(
    masked_lm_path: Path, tmp_path: Path
) -> None:
    mine = composed(masked_lm_path)
    assert isinstance(mine.query, LookupQueryEncoder)
    mine.query.term_frequency = "count"
    mine.save(tmp_path / "model")
    again = load_encoder(tmp_path / "model", **CPU)
    repeats = [f"{text} {text}" for text in TEXTS if text]
    assert again.encode_queries(repeats) == mine.encode_queries(repeats)
    # sentence-transformers knows presence only: there, repeats are lost.
    plain = composed(masked_lm_path).encode_queries(repeats)
    theirs = st.SparseEncoder(str(tmp_path / "model"), device="cpu").encode_query(repeats)
    np.testing.assert_allclose(theirs.to_dense().numpy(), plain.to_scipy().toarray(), atol=1e-4)


def test_two_models_of_ours(masked_lm_path: Path, tmp_path: Path) -> None:
    small = tiny_masked_lm(tmp_path / "small", seed=5, num_hidden_layers=1)
    mine = ComposedEncoder(
        MaskedLMEncoder.from_folder(small, saturation=2, options=TextOptions(7, 64), **CPU),
        MaskedLMEncoder.from_folder(masked_lm_path, options=TextOptions(64, 20), **CPU),
        name="efficient",
    )
    mine.save(tmp_path / "model")
    assert_agree(mine, st.SparseEncoder(str(tmp_path / "model"), device="cpu"))
    again = load_encoder(tmp_path / "model", **CPU)
    assert isinstance(again, ComposedEncoder)
    assert again.encode_queries(TEXTS) == mine.encode_queries(TEXTS)
    assert again.encode_documents(TEXTS) == mine.encode_documents(TEXTS)


def test_lower_casing_beside_the_tokenizer(tmp_path: Path) -> None:
    path = tiny_masked_lm(tmp_path / "cased")
    definition = json.loads((path / "tokenizer.json").read_text())
    definition["normalizer"]["lowercase"] = False
    (path / "tokenizer.json").write_text(json.dumps(definition))
    cased = load_encoder(path, **CPU)
    theirs = st.SparseEncoder(
        modules=[
            modules.Transformer(str(path), transformer_task="fill-mask", do_lower_case=True),
            modules.SpladePooling("max"),
        ],
        device="cpu",
    )
    theirs.save_pretrained(str(tmp_path / "model"))
    config = tmp_path / "model" / "sentence_bert_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "do_lower_case": True}))
    mine = load_encoder(tmp_path / "model", **CPU)
    assert_agree(mine, theirs)
    assert isinstance(mine, Encoder)
    assert mine.encode_queries(TEXTS) != cased.encode_queries(TEXTS)


def test_a_tokenizer_of_vocab_txt_alone(masked_lm_path: Path, tmp_path: Path) -> None:
    mine = load_encoder(masked_lm_path, **CPU)
    assert isinstance(mine, MaskedLMEncoder)
    path = tiny_masked_lm(tmp_path / "old")
    (path / "tokenizer.json").unlink()
    (path / "vocab.txt").write_text("\n".join(mine.vocabulary.tokens) + "\n")
    (path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 32})
    )
    old = load_encoder(path, **CPU)
    assert isinstance(old, MaskedLMEncoder)
    assert old.options.document_max_length == 32
    assert_agree(old, st.SparseEncoder(str(path), device="cpu"))
    old.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").is_file()
    assert_agree(old, st.SparseEncoder(str(tmp_path / "saved"), device="cpu"))
    (path / "vocab.txt").unlink()
    (path / "tokenizer_config.json").unlink()
    with pytest.raises(ModelFormatError, match="no tokenizer"):
        load_encoder(path, **CPU)


def test_what_they_save_of_ours_comes_back(masked_lm_path: Path, tmp_path: Path) -> None:
    mine = composed(masked_lm_path)
    mine.save(tmp_path / "ours")
    st.SparseEncoder(str(tmp_path / "ours"), device="cpu").save_pretrained(str(tmp_path / "theirs"))
    again = load_encoder(tmp_path / "theirs", **CPU)
    assert isinstance(again, Encoder)
    for side in ("encode_queries", "encode_documents"):
        got, expected = getattr(again, side)(TEXTS), getattr(mine, side)(TEXTS)
        np.testing.assert_allclose(
            got.to_scipy().toarray(), expected.to_scipy().toarray(), atol=1e-6
        )


def test_folders_of_older_releases(masked_lm_path: Path, tmp_path: Path) -> None:
    """Version 5 wrote other class paths, and the maximum length beside the transformer."""
    path = tiny_masked_lm(tmp_path / "old")
    (path / "modules.json").write_text(
        json.dumps(
            [
                {"idx": 0, "name": "0", "path": "",
                 "type": "sentence_transformers.sparse_encoder.models.MLMTransformer"},
                {"idx": 1, "name": "1", "path": "1_SpladePooling",
                 "type": "sentence_transformers.sparse_encoder.models.SpladePooling"},
            ]
        )
    )  # fmt: skip
    (path / "config_sentence_transformers.json").write_text(
        json.dumps({"model_type": "SparseEncoder", "prompts": {}, "similarity_fn_name": "dot"})
    )
    (path / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 9, "do_lower_case": False})
    )
    (path / "1_SpladePooling").mkdir()
    (path / "1_SpladePooling" / "config.json").write_text(
        json.dumps({"pooling_strategy": "max", "activation_function": "relu",
                    "word_embedding_dimension": 120})
    )  # fmt: skip
    mine = load_encoder(path, **CPU)
    assert isinstance(mine, MaskedLMEncoder)
    assert mine.options.document_max_length == 9
    assert_agree(mine, st.SparseEncoder(str(path), device="cpu"))


def test_an_idf_file_as_a_table(masked_lm_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    transformer(masked_lm_path).tokenizer.save_pretrained(str(folder))
    (folder / "config.json").write_text(json.dumps({"path": "idf.json", "frozen": True}))
    (folder / "idf.json").write_text(json.dumps({"cat": 2.0, "river": 3.5}))
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "x.SparseStaticEmbedding"}])
    )
    mine = load_encoder(folder)
    assert isinstance(mine, LookupQueryEncoder)
    assert mine.encode_queries(["the cat, the cat"]).weights.tolist() == [2.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "sentence_transformers.models.Pooling"}, "Transformer \\+ Pooling"),
        ({"path": "2_Missing"}, "missing"),
    ],
)
def test_other_modules_are_refused(
    masked_lm_path: Path, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    MaskedLMEncoder.from_folder(masked_lm_path, **CPU).save(tmp_path / "model")
    (tmp_path / "model" / "manifest.json").unlink()  # it would tell the change first
    file = tmp_path / "model" / "modules.json"
    content = json.loads(file.read_text())
    content[1] |= change
    file.write_text(json.dumps(content))
    with pytest.raises(ModelFormatError, match=message):
        load_encoder(tmp_path / "model")


def test_an_index_carries_the_query_side_alone(masked_lm_path: Path, tmp_path: Path) -> None:
    from lsr.core.records import Document

    mine = composed(masked_lm_path)
    documents = [Document(str(i), text) for i, text in enumerate(TEXTS)]
    collection = encode_collection(mine, documents, tmp_path / "v")
    assert collection.query_encoder_path is not None
    query = load_encoder(collection.query_encoder_path)
    assert isinstance(query, LookupQueryEncoder)
    assert query.encode_queries(TEXTS) == mine.encode_queries(TEXTS)
    assert not list(collection.query_encoder_path.glob("**/*Transformer*"))


def test_splade_tiny(tmp_path: Path) -> None:
    """The real model; its LayerNorm parameters have the old names gamma and beta."""
    folder = os.environ.get("LSR_TEST_SPLADE_TINY")
    if folder is None:
        pytest.skip("LSR_TEST_SPLADE_TINY does not name a folder with the splade-tiny model")
    mine = load_encoder(folder, **CPU)
    assert isinstance(mine, MaskedLMEncoder)
    texts = ["What is the capital of France?", "Paris is the capital of France.", "splade " * 400]
    assert_agree(mine, st.SparseEncoder(folder, device="cpu"), texts)
    best = mine.encode_queries(texts[:1]).row(0).top(3).terms
    assert {mine.vocabulary.token(t) for t in best.tolist()} == {"capital", "france", "french"}
    mine.save(tmp_path / "saved")
    assert_agree(mine, st.SparseEncoder(str(tmp_path / "saved"), device="cpu"), texts)
