from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from lsr.core.artifact import (
    check_artifact,
    open_array,
    read_manifest,
    storage_errors,
    verify_artifact,
    write_artifact,
    write_text_atomic,
)
from lsr.core.errors import (
    ArtifactCorruptedError,
    ArtifactExistsError,
    ArtifactFormatError,
    ArtifactNotFoundError,
    StorageError,
)
from lsr.core.manifest import Manifest


def make(path: Path, *, overwrite: bool = False) -> Manifest:
    with write_artifact(path, Manifest.new("thing", 3), overwrite=overwrite) as writer:
        writer.array("inner/numbers", np.arange(1000, dtype=np.int32))
        writer.text("note.txt", "hello")
        grown = writer.create_array("grown", np.float32, (4, 2))
        grown[:] = 1.5
        grown.flush()
    return read_manifest(path, kind="thing", format_version=3)


def test_round_trip(tmp_path: Path) -> None:
    manifest = make(tmp_path / "a")
    check_artifact(tmp_path / "a", manifest)
    assert verify_artifact(tmp_path / "a", manifest) == []
    numbers = open_array(tmp_path / "a", "inner/numbers", manifest)
    assert numbers.tolist() == list(range(1000))
    assert type(numbers) is np.ndarray and not numbers.flags.writeable
    assert open_array(tmp_path / "a", "grown", manifest).shape == (4, 2)
    assert set(manifest.files) == {"inner/numbers.npy", "note.txt", "grown.npy"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_a_failing_body_leaves_nothing_and_the_old_one_stands(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with (
        pytest.raises(RuntimeError, match="boom"),
        write_artifact(tmp_path / "a", Manifest.new("thing", 3), overwrite=True) as writer,
    ):
        writer.text("half.txt", "half")
        raise RuntimeError("boom")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    assert (
        verify_artifact(
            tmp_path / "a", read_manifest(tmp_path / "a", kind="thing", format_version=3)
        )
        == []
    )


def test_existing_paths_are_not_replaced_by_accident(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(ArtifactExistsError, match="--overwrite"):
        make(tmp_path / "a")
    make(tmp_path / "a", overwrite=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactExistsError, match="did not write"):
        make(tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


def test_damage_is_named(tmp_path: Path) -> None:
    manifest = make(tmp_path / "a")
    file = tmp_path / "a" / "inner" / "numbers.npy"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    check_artifact(tmp_path / "a", manifest)  # the size is right: only reading all can tell
    assert verify_artifact(tmp_path / "a", manifest) == ["inner/numbers.npy: checksum differs"]
    file.write_bytes(raw[:-10])
    with pytest.raises(ArtifactCorruptedError, match="numbers.npy has .* truncated"):
        check_artifact(tmp_path / "a", manifest)
    file.unlink()
    with pytest.raises(ArtifactCorruptedError, match="missing"):
        check_artifact(tmp_path / "a", manifest)
    assert verify_artifact(tmp_path / "a", manifest) == ["inner/numbers.npy: missing"]


def test_an_array_of_another_shape_is_refused(tmp_path: Path) -> None:
    manifest = make(tmp_path / "a")
    np.save(tmp_path / "a" / "inner" / "numbers.npy", np.zeros(3))
    with pytest.raises(ArtifactCorruptedError, match="the manifest says"):
        open_array(tmp_path / "a", "inner/numbers", manifest)


def test_foreign_and_newer_formats_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFoundError, match="no such folder"):
        read_manifest(tmp_path / "none", kind="thing", format_version=3)
    with pytest.raises(ArtifactNotFoundError, match="no manifest.json"):
        read_manifest(tmp_path, kind="thing", format_version=3)
    make(tmp_path / "a")
    with pytest.raises(ArtifactFormatError, match="'thing', not 'index'"):
        read_manifest(tmp_path / "a", kind="index", format_version=3)
    with pytest.raises(ArtifactFormatError, match="format 3; this release reads 2.*Build it again"):
        read_manifest(tmp_path / "a", kind="thing", format_version=2)
    file = tmp_path / "a" / "manifest.json"
    body = json.loads(file.read_text())
    body["files"] = "none"
    file.write_text(json.dumps(body))
    with pytest.raises(ArtifactCorruptedError, match="not a manifest"):
        read_manifest(tmp_path / "a", kind="thing", format_version=3)
    file.write_text("{")
    with pytest.raises(ArtifactCorruptedError, match="not JSON"):
        read_manifest(tmp_path / "a", kind="thing", format_version=3)


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="The disk is full"), storage_errors(tmp_path, "index"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "sub" / "t.json", "one")
    write_text_atomic(tmp_path / "sub" / "t.json", "two")
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["t.json"]
    assert (tmp_path / "sub" / "t.json").read_text() == "two"
