import subprocess
import sys
from pathlib import Path

import pytest

from lsr.core.errors import (
    ArgumentError,
    ArtifactCorruptedError,
    ArtifactNotFoundError,
    EncoderError,
    EncoderNotFoundError,
    ModelFormatError,
)
from lsr.encoders import Encoder, LexicalEncoder, load_encoder, loading, prepare_encoder
from lsr.encoders.composed import ComposedEncoder
from lsr.encoders.inference_free import LookupQueryEncoder
from lsr.encoders.loading import shorten
from lsr.encoders.splade import MaskedLMEncoder


def test_an_encoder_that_does_not_ship_is_named_with_what_does() -> None:
    with pytest.raises(EncoderNotFoundError, match="Known names: .*lexical"):
        load_encoder("no-such-encoder")
    with pytest.raises(EncoderNotFoundError, match="Did you mean 'lexical'"):
        load_encoder("lexicl")


def test_a_shipped_encoder_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EncoderNotFoundError, match="Known names: .*lexical"):
        load_encoder("lsr-test")
    monkeypatch.setattr(loading, "_SHIPPED", tmp_path)
    fitted = LexicalEncoder.fit(["one cat", "two dogs"])
    fitted.save(tmp_path / "lsr-test")
    assert load_encoder("lsr-test").fingerprint == fitted.fingerprint
    with pytest.raises(EncoderNotFoundError, match="Did you mean 'lsr-test'"):
        load_encoder("lsr-tests")


def test_lexical_alone_says_that_it_must_be_fitted() -> None:
    with pytest.raises(EncoderError, match="fitted"):
        load_encoder("lexical")


def test_prepare_fits_lexical_and_reads_the_corpus_only_then(tmp_path: Path) -> None:
    fitted = prepare_encoder("lexical", lambda: ["one cat", "two dogs"])
    assert isinstance(fitted, LexicalEncoder)
    fitted.save(tmp_path / "e")

    def never() -> list[str]:
        raise AssertionError("the corpus was read")

    assert prepare_encoder(tmp_path / "e", never).fingerprint == fitted.fingerprint


def test_device_is_refused_where_it_does_not_apply() -> None:
    with pytest.raises(ArgumentError, match="without torch"):
        prepare_encoder("lexical", lambda: ["a b c"], device="cuda")


def test_a_folder_without_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="holds no encoder"):
        load_encoder(tmp_path)
    (tmp_path / "lsr_encoder.json").write_text("{}")
    with pytest.raises(ArtifactNotFoundError):
        load_encoder(tmp_path)


def test_a_hub_id_that_cannot_be_fetched_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def offline(*args: object, **kwargs: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    with pytest.raises(EncoderNotFoundError, match="no network"):
        load_encoder("someone/some-model")


def test_light_encoders_load_without_torch(tmp_path: Path) -> None:
    LexicalEncoder.fit(["one cat", "two dogs"]).save(tmp_path / "e")
    code = (
        "import sys; from lsr.encoders import load_encoder; "
        f"load_encoder({str(tmp_path / 'e')!r}).encode_queries(['cat']); "
        "bad = {'torch', 'transformers', 'onnxruntime', 'sentence_transformers'} & set(sys.modules);"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_texts_can_be_cut_shorter_but_not_longer(masked_lm_path: Path) -> None:
    words = "cat dog house river stone cloud tree mouse"
    made = load_encoder(masked_lm_path, device="cpu", dtype="float32", document_max_length=5)
    assert isinstance(made, Encoder)
    assert made.encode_documents([words]) == made.encode_documents(["cat dog house"])
    assert made.encode_queries([words]) != made.encode_queries(["cat dog house"])
    with pytest.raises(ArgumentError, match="at most 64"):
        load_encoder(masked_lm_path, query_max_length=65)
    with pytest.raises(ArgumentError, match="does not apply"):
        prepare_encoder("lexical", lambda: ["a cat"], document_max_length=9)


def test_lengths_of_composed_encoders(masked_lm_path: Path) -> None:
    document = load_encoder(masked_lm_path, device="cpu", dtype="float32")
    assert isinstance(document, MaskedLMEncoder)
    pair = ComposedEncoder(LookupQueryEncoder.binary(document.tokenizer), document)
    shorten(pair, 3, 7)
    assert pair.encode_queries(["cat dog house tree"]).nnz == 3
    assert document.options.document_max_length == 7


def test_a_truncated_model_is_told_at_once(masked_lm_path: Path, tmp_path: Path) -> None:
    load_encoder(masked_lm_path, device="cpu", dtype="float32").save(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtifactCorruptedError, match="truncated"):
        load_encoder(tmp_path / "m")
    (tmp_path / "m" / "manifest.json").unlink()
    (tmp_path / "m" / "modules.json").unlink()
    with pytest.raises(ModelFormatError, match="cannot be loaded"):
        load_encoder(tmp_path / "m")
