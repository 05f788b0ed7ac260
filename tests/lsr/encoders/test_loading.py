import subprocess
import sys
from pathlib import Path

import pytest

from lsr.core.errors import (
    ArgumentError,
    ArtifactNotFoundError,
    EncoderError,
    EncoderNotFoundError,
    ModelFormatError,
)
from lsr.encoders import LexicalEncoder, load_encoder, prepare_encoder


def test_an_encoder_that_does_not_ship_is_named_with_what_does() -> None:
    with pytest.raises(EncoderNotFoundError, match="Known names: .*lexical"):
        load_encoder("no-such-encoder")
    with pytest.raises(EncoderNotFoundError, match="Did you mean 'lexical'"):
        load_encoder("lexicl")


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
