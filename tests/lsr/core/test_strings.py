from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.artifact import read_manifest, write_artifact
from lsr.core.errors import DuplicateIdError
from lsr.core.manifest import Manifest
from lsr.core.strings import StringTable

ids = st.lists(st.text(max_size=8).filter(lambda s: s.isprintable()), unique=True, max_size=30)


@given(ids, st.text(max_size=8).filter(lambda s: s.isprintable()))
def test_every_string_is_found_at_its_row_and_no_other(strings: list[str], other: str) -> None:
    table = StringTable.from_strings(strings)
    assert list(table) == strings
    assert [table.row(s) for s in strings] == list(range(len(strings)))
    assert (table.row(other) is None) == (other not in strings)


def test_duplicates_are_named() -> None:
    with pytest.raises(DuplicateIdError, match="'b' stands twice, at rows 1 and 3"):
        StringTable.from_strings(["a", "b", "c", "b"])


def test_round_trip_on_disk(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "t", Manifest.new("thing", 1), overwrite=False) as writer:
        StringTable.from_strings(["zebra", "äpfel", ""]).write(writer, "ids")
    manifest = read_manifest(tmp_path / "t", kind="thing", format_version=1)
    table = StringTable.open(tmp_path / "t", "ids", manifest)
    assert list(table) == ["zebra", "äpfel", ""]
    assert table.row("äpfel") == 1
    with pytest.raises(IndexError):
        table[3]
