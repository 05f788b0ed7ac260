from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lsr.core.errors import ConfigError, DatasetNotFoundError, DownloadError
from lsr.core.settings import get_settings
from lsr.data import registry
from lsr.data.bad_lines import BadLines
from lsr.data.beir import BeirDataset
from lsr.data.catalogue import CATALOGUE, PublicDataset
from lsr.data.fields import FieldMap
from lsr.data.irds import IrdsDataset
from lsr.data.jsonl import JsonlDataset
from lsr.data.msmarco import MsMarcoDataset, TsvDataset
from lsr.data.registry import fetch_dataset, list_datasets, load_dataset
from tests.helpers.files import write_jsonl, write_lines
from tests.helpers.loopback import FileServer, serve

Maker = Callable[..., Path]


def test_the_shipped_one_needs_nothing() -> None:
    assert load_dataset("toy").name == "toy"


def test_folders_and_files_by_path(tmp_path: Path, make_beir: Maker) -> None:
    beir = load_dataset(make_beir())
    assert isinstance(beir, BeirDataset)
    assert beir.name == "tiny"
    write_lines(tmp_path / "ms" / "collection.tsv.gz", ["0\tx"])
    assert isinstance(load_dataset(str(tmp_path / "ms")), MsMarcoDataset)
    jsonl = write_jsonl(tmp_path / "wiki.jsonl.zst", [{"key": "a", "text": "x"}])
    dataset = load_dataset(jsonl, fields=FieldMap("key"))
    assert isinstance(dataset, JsonlDataset)
    assert [d.doc_id for d in dataset.documents()] == ["a"]
    assert isinstance(load_dataset(write_lines(tmp_path / "c.tsv", ["0\tx"])), TsvDataset)


def test_the_budget_reaches_the_readers(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ["{", '{"_id": "a", "text": "x"}'])
    bad = BadLines(1)
    assert len(list(load_dataset(path, bad_lines=bad).documents())) == 1
    assert bad.n_skipped == 1


def test_names_are_looked_for_below_the_data_roots(
    data_root: Path, tmp_path: Path, make_beir: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_beir(data_root / "mine")
    make_beir(data_root / "group" / "android")
    write_jsonl(data_root / "wiki.jsonl.gz", [{"_id": "a", "text": "x"}])
    assert load_dataset("mine").name == "mine"
    assert load_dataset("group/android").name == "group/android"
    assert isinstance(load_dataset("wiki"), JsonlDataset)
    # The working directory holds another folder of that name: ./ means that one.
    monkeypatch.chdir(tmp_path)
    make_beir(tmp_path / "mine", corpus=[{"_id": "other", "text": "x"}])
    assert next(load_dataset("mine").documents()).doc_id == "d1"
    assert next(load_dataset("./mine").documents()).doc_id == "other"


def test_the_first_root_wins(
    tmp_path: Path, make_beir: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root in ("a", "b"):
        make_beir(tmp_path / root / "set", corpus=[{"_id": root, "text": "x"}])
    monkeypatch.setenv("LSR_DATA", f"{tmp_path / 'b'}:{tmp_path / 'a'}")
    get_settings.cache_clear()
    assert next(load_dataset("set").documents()).doc_id == "b"
    entry = next(e for e in list_datasets() if e.name == "set")
    assert entry.source == str(tmp_path / "b" / "set")


def test_an_archive_is_unpacked_once_and_again_when_it_changes(
    tmp_path: Path, make_beir: Maker, home: Path
) -> None:
    shutil.make_archive(str(tmp_path / "set"), "gztar", make_beir().parent, "tiny")
    archive = tmp_path / "set.tar.gz"
    first = load_dataset(archive)
    assert first.name == "set"
    assert [d.doc_id for d in first.documents()] == ["d1", "d2", "d3"]
    load_dataset(archive)
    folders = [p for p in (home / "unpacked").iterdir() if p.is_dir()]
    assert len(folders) == 1
    make_beir(tmp_path / "again" / "tiny", corpus=[{"_id": "new", "text": "x"}])
    shutil.make_archive(str(tmp_path / "set"), "gztar", tmp_path / "again", "tiny")
    assert [d.doc_id for d in load_dataset(archive).documents()] == ["new"]


def test_an_archive_in_a_data_root_is_known_by_name(
    data_root: Path, make_beir: Maker, home: Path
) -> None:
    shutil.make_archive(str(data_root / "set"), "zip", make_beir().parent, "tiny")
    assert next(e for e in list_datasets() if e.name == "set").status == "archive"
    assert [d.doc_id for d in load_dataset("set").documents()] == ["d1", "d2", "d3"]
    assert next(e for e in list_datasets() if e.name == "set").status == "ready"
    assert fetch_dataset("set") == home / "datasets" / "set"


def test_unknown_names_have_near_names_and_a_next_step() -> None:
    with pytest.raises(DatasetNotFoundError, match="'scifct'.* Did you mean 'scifact'") as caught:
        load_dataset("scifct")
    assert "lsr data list" in caught.value.hint
    with pytest.raises(DatasetNotFoundError, match="known but not on this machine") as caught:
        load_dataset("scifact")
    assert caught.value.hint == "Get it with: lsr data get scifact"
    with pytest.raises(DatasetNotFoundError):
        load_dataset("/no/such/folder")


def test_folders_and_files_that_are_no_collection(tmp_path: Path, make_beir: Maker) -> None:
    with pytest.raises(DatasetNotFoundError, match="neither corpus.jsonl nor collection.tsv"):
        load_dataset(tmp_path)
    make_beir(tmp_path / "some" / "android")
    with pytest.raises(DatasetNotFoundError) as caught:
        load_dataset(tmp_path / "some")
    assert "the collections android: name one" in caught.value.hint
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DatasetNotFoundError, match="no file of documents"):
        load_dataset(tmp_path / "a.csv")


def test_irds_ids_with_and_without_prefix() -> None:
    pytest.importorskip("ir_datasets")
    assert isinstance(load_dataset("irds:beir/scifact/test"), IrdsDataset)
    assert isinstance(load_dataset("beir/scifact/test"), IrdsDataset)
    with pytest.raises(DatasetNotFoundError, match="ir_datasets has no data set 'toy'"):
        load_dataset("irds:toy")


def test_field_maps_are_for_json(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.tsv", ["0\tx"])
    for name in ("toy", path):
        with pytest.raises(ConfigError, match="has fields of its own"):
            load_dataset(name, fields=FieldMap("key"))


def test_the_list_is_sorted_and_says_where() -> None:
    entries = list_datasets()
    assert [e.name for e in entries] == sorted(e.name for e in entries)
    assert {e.name: e.status for e in entries}["toy"] == "shipped"
    assert set(CATALOGUE) < {e.name for e in entries}


def test_the_catalogue_agrees_with_ir_datasets() -> None:
    import json

    package = pytest.importorskip("ir_datasets")
    listed = json.loads((Path(package.__file__).parent / "etc" / "downloads.json").read_text())
    for name, public in CATALOGUE.items():
        theirs = listed["beir"].get(name)
        if name == "msmarco-passage":
            theirs = listed["msmarco-passage"]["collectionandqueries"]
        if name == "webis-touche2020":
            theirs = listed["beir"]["webis-touche2020/v2"]
        assert public.checksum == f"md5:{theirs['expected_md5']}"
        assert public.url == theirs["url"]


@pytest.fixture
def server(
    tmp_path: Path, make_beir: Maker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FileServer]:
    """The catalogue's only entry, ``remote``, served from this machine."""
    shutil.make_archive(str(tmp_path / "remote"), "zip", make_beir().parent, "tiny")
    content = (tmp_path / "remote.zip").read_bytes()
    with serve(content) as server:
        public = PublicDataset(
            server.url, f"md5:{hashlib.md5(content).hexdigest()}", len(content), 3, "About."
        )
        monkeypatch.setattr(registry, "CATALOGUE", {"remote": public})
        yield server


def test_fetching_downloads_checks_and_unpacks_once(server: FileServer, home: Path) -> None:
    assert next(e for e in list_datasets() if e.name == "remote").status == "online"
    folder = fetch_dataset("remote")
    assert folder == home / "datasets" / "remote"
    assert [d.doc_id for d in load_dataset("remote").documents()] == ["d1", "d2", "d3"]
    assert list((home / "downloads").iterdir()) == []
    assert fetch_dataset("remote") == folder
    assert len(server.requests) == 1
    (folder / "corpus.jsonl").write_text("")
    fetch_dataset("remote", overwrite=True)
    assert len(list(load_dataset("remote").documents())) == 3
    assert len(server.requests) == 2


def test_a_broken_download_leaves_a_part_and_no_collection(server: FileServer, home: Path) -> None:
    server.cut_after = 100
    with pytest.raises(DownloadError):
        fetch_dataset("remote")
    assert not (home / "datasets" / "remote").exists()
    server.cut_after = None
    fetch_dataset("remote")
    assert server.requests == [None, "bytes=100-"]


def test_fetching_what_needs_no_fetching_or_is_unknown(data_root: Path, make_beir: Maker) -> None:
    folder = make_beir(data_root / "mine")
    assert fetch_dataset("mine") == folder
    assert fetch_dataset("mine", overwrite=True) == folder
    assert (fetch_dataset("toy") / "corpus.jsonl.zst").is_file()
    with pytest.raises(DatasetNotFoundError, match="No data set 'nothing'"):
        fetch_dataset("nothing")


def test_a_public_archive_of_several_collections(
    tmp_path: Path, make_beir: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for forum in ("android", "english"):
        make_beir(tmp_path / "source" / "forums" / forum)
    shutil.make_archive(str(tmp_path / "forums"), "zip", tmp_path / "source", "forums")
    content = (tmp_path / "forums.zip").read_bytes()
    with serve(content) as server:
        checksum = f"md5:{hashlib.md5(content).hexdigest()}"
        public = PublicDataset(server.url, checksum, len(content), None, "Several.")
        monkeypatch.setattr(registry, "CATALOGUE", {"forums": public})
        folder = fetch_dataset("forums")
        statuses = {e.name: e.status for e in list_datasets()}
        assert statuses["forums"] == statuses["forums/android"] == "ready"
        assert fetch_dataset("forums") == folder
        assert fetch_dataset("forums/english") == folder / "english"
        assert len(server.requests) == 1
    assert load_dataset("forums/android").name == "forums/android"
    with pytest.raises(DatasetNotFoundError, match="neither corpus.jsonl") as caught:
        load_dataset("forums")
    assert "the collections android, english: name one" in caught.value.hint
