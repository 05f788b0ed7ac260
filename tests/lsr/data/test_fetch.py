from __future__ import annotations

import hashlib
import io
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsr.core.errors import DataError, DownloadError, StorageError
from lsr.data.fetch import download, locked, unpack
from tests.helpers.files import write_bytes
from tests.helpers.loopback import FileServer, serve

CONTENT = bytes(range(256)) * 4000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(CONTENT) as server:
        yield server


@pytest.mark.parametrize("checksum", [MD5, SHA256])
def test_a_file_is_fetched_and_checked(server: FileServer, tmp_path: Path, checksum: str) -> None:
    target = tmp_path / "new" / "a.zip"
    assert download(server.url, target, checksum=checksum) == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_a_broken_transfer_is_resumed(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.zip"
    server.cut_after = 300_000
    with pytest.raises(DownloadError, match="broke off") as caught:
        download(server.url, target, checksum=MD5)
    assert "goes on from there" in caught.value.hint
    assert not target.exists()
    assert (tmp_path / "a.zip.part").stat().st_size == 300_000
    server.cut_after = None
    download(server.url, target, checksum=MD5)
    assert server.requests == [None, "bytes=300000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(server: FileServer, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1000])
    download(server.url, tmp_path / "a.zip", checksum=MD5)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_that_was_complete_is_taken(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "a.zip", checksum=MD5)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_of_something_else_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"x" * 1000)
    download(server.url, tmp_path / "a.zip", checksum=MD5)
    assert server.requests == ["bytes=1000-", None]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(
    server: FileServer, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="md5 .*, expected 0000"):
        download(server.url, tmp_path / "a.zip", checksum="md5:0000")
    assert list(tmp_path.glob("a*")) == []


def test_a_refusal_is_told(server: FileServer, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match="the server answered 404"):
        download(server.url, tmp_path / "a.zip", checksum=MD5)


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        download(f"http://127.0.0.1:{free}/a.zip", tmp_path / "a.zip", checksum=MD5)
    assert "LSR_DATA" in caught.value.hint
    assert caught.value.exit_status == 3


def test_a_target_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        download(server.url, tmp_path / "file" / "a.zip", checksum=MD5)


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with locked(tmp_path / "x"):
            order.append("first")
            inside.set()
            leave.wait(5)
            order.append("first done")

    def second() -> None:
        inside.wait(5)
        threading.Timer(0.1, leave.set).start()
        with locked(tmp_path / "x"):
            order.append("second")

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["first", "first done", "second"]


FILES = {"set/corpus.jsonl": b"{}\n", "set/qrels/test.tsv": b"a\tb\t1\n"}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    buffer = io.BytesIO()
    if path.suffix == ".zip":
        with zipfile.ZipFile(buffer, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as packed:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    content = buffer.getvalue()
    if path.suffix == ".tgz":
        write_bytes(path.with_suffix(".gz"), content).rename(path)
        return path
    return (
        path if path.suffix == ".zip" and path.write_bytes(content) else write_bytes(path, content)
    )


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip"])
def test_archives_lose_their_single_top_folder(tmp_path: Path, suffix: str) -> None:
    archive = pack(tmp_path / f"a{suffix}", FILES)
    target = unpack(archive, tmp_path / "out" / "set")
    assert (target / "corpus.jsonl").read_bytes() == b"{}\n"
    assert (target / "qrels" / "test.tsv").read_bytes() == b"a\tb\t1\n"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["set"]


def test_an_archive_without_top_folder(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"collection.tsv": b"0\tx\n", "qrels.tsv": b""})
    target = unpack(archive, tmp_path / "set")
    assert sorted(p.name for p in target.iterdir()) == ["collection.tsv", "qrels.tsv"]


def test_what_stands_there_is_left_unless_told_otherwise(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()
    (target / "mine").write_text("x")
    archive = pack(tmp_path / "a.zip", FILES)
    unpack(archive, target)
    assert [p.name for p in target.iterdir()] == ["mine"]
    unpack(archive, target, overwrite=True)
    assert sorted(p.name for p in target.iterdir()) == ["corpus.jsonl", "qrels"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil"])
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, suffix: str) -> None:
    archive = pack(tmp_path / f"a{suffix}", {"set/ok": b"x", name: b"evil"})
    with pytest.raises(DataError, match="leads out of it"):
        unpack(archive, tmp_path / "out" / "set")
    assert not list(tmp_path.rglob("evil"))
    assert not (tmp_path / "out" / "set").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        member = tarfile.TarInfo("set/link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(member)
    archive = write_bytes(tmp_path / "a.tar.gz", buffer.getvalue())
    with pytest.raises(DataError, match="'set/link', which is no plain file"):
        unpack(archive, tmp_path / "set")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst", ".zip", ".tar"])
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    files = {f"set/{i}": bytes([i]) * 5000 for i in range(100)}
    archive = pack(tmp_path / f"a{suffix}", files)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is damaged"):
        unpack(archive, tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_archives_are_refused(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.rar", b"x")
    with pytest.raises(DataError, match="no archive of a known kind"):
        unpack(path, tmp_path / "set")
