from __future__ import annotations

from pathlib import Path

import pytest

from lsr.core.errors import ArtifactCorruptedError, DataError, VocabularyMismatchError
from lsr.core.vocabulary import Vocabulary


def test_round_trip_and_lookup(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a", "##b", "é\n"])
    vocabulary.save(tmp_path / "v.json")
    again = Vocabulary.load(tmp_path / "v.json")
    assert again == vocabulary
    assert again.term("é\n") == 2
    assert again.token(1) == "##b"
    assert again.term("zzz") is None


def test_fingerprint_depends_on_order_and_borders() -> None:
    one = Vocabulary(["ab", "c"])
    assert one.fingerprint != Vocabulary(["c", "ab"]).fingerprint
    assert one.fingerprint != Vocabulary(["a", "bc"]).fingerprint


def test_mixing_two_names_both() -> None:
    with pytest.raises(VocabularyMismatchError, match="The query encoder .* the index"):
        Vocabulary(["a"]).require_same(
            Vocabulary(["b"]).fingerprint, mine="The query encoder", theirs="the index"
        )


def test_duplicates_and_damage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'b' stands twice"):
        Vocabulary(["a", "b", "b"])
    (tmp_path / "v.json").write_text("[1, 2")
    with pytest.raises(ArtifactCorruptedError, match="not JSON"):
        Vocabulary.load(tmp_path / "v.json")
    (tmp_path / "v.json").write_text("[1, 2]")
    with pytest.raises(ArtifactCorruptedError, match="array of strings"):
        Vocabulary.load(tmp_path / "v.json")
