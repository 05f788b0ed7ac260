"""``lsr index`` for live collections: create, add, remove, merge, repair, snapshot, restore."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsr.core.options import (
    ConfigOption,
    IdFieldOption,
    JsonOption,
    OverwriteOption,
    QuietOption,
    SetOption,
    SkipBadLinesOption,
    TextFieldOption,
    ThreadsOption,
    TitleFieldOption,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indexing.collection import Collection, UpsertResult
    from lsr.core.records import Document
    from lsr.core.sparse import Float32Array

__all__ = [
    "collection_info",
    "described_dense",
    "described_fields",
    "is_collection",
    "register",
    "show_info",
    "verify_collection",
]

CollectionArgument = Annotated[Path, typer.Argument(help="A live collection.", show_default=False)]
VectorsOption = Annotated[
    Path, typer.Option("--vectors", help="An encoded collection (lsr encode).")
]
CorpusOption = Annotated[
    str | None,
    typer.Option(
        "--corpus", help="The encoded dataset, by name or path: its documents are stored too."
    ),
]
DenseVectorsOption = Annotated[
    Path | None,
    typer.Option(
        "--dense-vectors",
        metavar="FILE.npy",
        help="Dense vectors made elsewhere: a row for each document of --vectors, in their order.",
    ),
]


def register(verbs: typer.Typer) -> None:
    """Mount the verbs below ``lsr index``."""
    for verb in (create, add, remove, merge, repair, snapshot, restore):
        verbs.command(verb.__name__)(verb)


def is_collection(path: Path) -> bool:
    """Return whether `path` holds a live collection rather than an index folder."""
    from indexing.live_store import STORE_NAME

    return (path / STORE_NAME).exists()


def create(
    collection: CollectionArgument,
    vectors: VectorsOption,
    corpus: CorpusOption = None,
    empty: Annotated[
        bool, typer.Option("--empty", help="Take vocabulary and encoder only, no documents.")
    ] = False,
    dense: Annotated[
        Path | None,
        typer.Option(
            "--dense", help="A bi-encoder's folder: every document gets a dense vector by it too."
        ),
    ] = None,
    dense_vectors: DenseVectorsOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    id_field: IdFieldOption = "_id",
    text_field: TextFieldOption = None,
    title_field: TitleFieldOption = "title",
    skip_bad_lines: SkipBadLinesOption = 0,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a live collection, which takes writes, from an encoded one.

    Metadata fields take the type of their first value unless they are declared. Example:
    `lsr index create live --vectors news.vectors --corpus news.jsonl --set fields.day=date`

    With --dense, or --dense-vectors alone, it has a dense half for hybrid search; with both the
    model encodes queries and later documents only. One cannot be added afterwards.
    """
    from indexing.collection import Collection
    from indexing.collection_config import CollectionConfig
    from indexing.dense_encoder import DenseEncoder
    from lsr.core import console
    from lsr.core.config import load_config
    from lsr.data.vectors import open_vectors

    console.configure(quiet=quiet, json_output=as_json)
    source = open_vectors(vectors)
    rows = _dense_rows(dense_vectors)
    half = DenseEncoder(dense) if dense is not None else None
    width = rows.shape[1] if rows is not None else None
    with Collection.create(
        collection,
        source.vocabulary,
        config=load_config(CollectionConfig, config, overrides or []),
        encoder=source.manifest.details["encoder"],
        idf=source.manifest.details["idf"],
        query_encoder=source.query_encoder_path,
        dense=half if half is not None else width,
        n_threads=threads,
    ) as made:
        if not empty:
            documents = _documents(corpus, (id_field, text_field, title_field), skip_bad_lines)
            _load(made, vectors, documents, rows)
        result = collection_info(made)
    console.emit(result, lambda: show_info(result))


def add(
    collection: CollectionArgument,
    vectors: VectorsOption,
    corpus: CorpusOption = None,
    dense_vectors: DenseVectorsOption = None,
    id_field: IdFieldOption = "_id",
    text_field: TextFieldOption = None,
    title_field: TitleFieldOption = "title",
    skip_bad_lines: SkipBadLinesOption = 0,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Add an encoded collection to a live one; documents with a known id are replaced.

    Where the collection has a bi-encoder, that encodes them too. Example:
    `lsr index add live --vectors news.vectors --corpus news.jsonl`
    """
    from indexing.collection import Collection
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    started = time.perf_counter()
    with Collection.open(collection, mode="w", n_threads=threads) as opened:
        documents = _documents(corpus, (id_field, text_field, title_field), skip_bad_lines)
        done = _load(opened, vectors, documents, _dense_rows(dense_vectors))
    result = {
        "path": str(collection),
        **done._asdict(),
        "load_s": round(time.perf_counter() - started, 3),
    }
    console.emit(
        result,
        lambda: typer.echo(
            f"Added {done.n_added:,}, replaced {done.n_replaced:,} in {result['load_s']} s."
        ),
    )


def _documents(
    corpus: str | None, fields: tuple[str, list[str] | None, str], n_bad: int
) -> Iterator[Document] | None:
    if corpus is None:
        return None
    from lsr.data import BadLines, FieldMap, load_dataset

    dataset = load_dataset(corpus, fields=FieldMap.from_flags(*fields), bad_lines=BadLines(n_bad))
    return dataset.documents()


def _dense_rows(path: Path | None) -> Float32Array | None:
    """Return the dense vectors of a file, memory-mapped."""
    import numpy as np

    from lsr.core.errors import DataError

    if path is None:
        return None
    hint = "Write it with numpy.save: float32, a row for each document."
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", hint=hint) from error
    if rows.ndim != 2 or rows.dtype.kind != "f" or not rows.shape[1]:
        raise DataError(f"{path} holds {rows.dtype} of shape {rows.shape}.", hint=hint)
    checked: Float32Array = rows
    return checked


def _load(
    collection: Collection,
    vectors: Path,
    documents: Iterator[Document] | None,
    rows: Float32Array | None,
) -> UpsertResult:
    from indexing.collection_load import load_batches
    from indexing.dense_encoder import DenseEncoder
    from lsr.core import console
    from lsr.data.vectors import open_vectors

    source = open_vectors(vectors)
    collection.vocabulary.require_same(
        source.manifest.details["vocabulary_fingerprint"],
        mine=f"The collection {collection.path.name!r}",
        theirs=str(vectors),
    )
    dense: DenseEncoder | Float32Array | None = rows
    if rows is None and (path := collection.dense_encoder_path) is not None:
        dense = DenseEncoder(path)
    batches = load_batches(source, documents, collection.config.bulk_rows, dense=dense)
    with console.progress_bar("Loading", source.n_documents, unit="documents") as advance:
        done = collection.load(batches, on_batch=advance)
    collection.wait()
    return done


def remove(
    collection: CollectionArgument,
    doc_ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of documents.", show_default=False)
    ] = None,
    where: Annotated[
        str | None, typer.Option("--filter", help="Delete what passes this filter (JSON).")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete documents from a live collection, by id or by filter.

    Example: `lsr index remove live --filter '{"range": {"year": {"lt": 1990}}}'`
    """
    from indexing.collection import Collection
    from lsr.core import console
    from lsr.core.errors import ArgumentError

    console.configure(quiet=quiet, json_output=as_json)
    if bool(doc_ids) == bool(where):
        raise ArgumentError("Give ids or --filter, one of the two.")
    with Collection.open(collection, mode="w") as opened:
        n_deleted = opened.delete_where(where) if where else opened.delete(doc_ids or [])
    result = {"path": str(collection), "n_deleted": n_deleted}
    console.emit(result, lambda: typer.echo(f"Deleted {n_deleted:,} documents."))


def merge(
    collection: CollectionArgument,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make one segment of all documents of a live collection, without its dead ones.

    Searches go on meanwhile, in this and in other processes. Example: `lsr index merge live`
    """
    from indexing.collection import Collection
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    with Collection.open(collection, mode="w", background=False, n_threads=threads) as opened:
        opened.merge()
        result = collection_info(opened)
    console.emit(result, lambda: show_info(result))


def repair(
    collection: CollectionArgument,
    everything: Annotated[
        bool, typer.Option("--all", help="Build every segment again, damaged or not.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a live collection and build again what is damaged and can be built from its store.

    Example: `lsr index repair live`
    """
    from indexing.collection_copies import repair as repair_collection
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    done = repair_collection(collection, everything=everything)
    result = {"path": str(collection), **done._asdict()}

    def show() -> None:
        for line in done.problems:
            typer.echo(line)
        typer.echo(f"Built {len(done.rebuilt)} segments again." if done.rebuilt else "All is well.")

    console.emit(result, show)


def snapshot(
    collection: CollectionArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder.")],
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a consistent copy of a live collection, with checksums, while it is in use.

    Example: `lsr index snapshot live --out live.snapshot`
    """
    from indexing.collection_copies import snapshot as take_snapshot
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    result = {"path": str(out), **take_snapshot(collection, out, overwrite=overwrite)}
    console.emit(
        result,
        lambda: typer.echo(
            f"{result['n_documents']:,} documents, {result['bytes'] / 1e6:,.1f} MB: {out}"
        ),
    )


def restore(
    source: Annotated[Path, typer.Argument(help="A snapshot.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new live collection.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a live collection from a snapshot; every file is checked first.

    Example: `lsr index restore live.snapshot --out live`
    """
    from indexing.collection_copies import restore as restore_snapshot
    from lsr.core import console

    console.configure(quiet=quiet, json_output=as_json)
    with restore_snapshot(source, out) as made:
        result = collection_info(made)
    console.emit(result, lambda: show_info(result))


def collection_info(collection: Collection) -> dict[str, Any]:
    """Return the description of an open collection that ``lsr index info`` prints."""
    details = collection.manifest.details
    return {
        "path": str(collection.path),
        "kind": "collection",
        "layout": collection.config.index.layout.kind,
        **collection.stats(),
        "vocabulary_size": details["vocabulary_size"],
        "vocabulary_fingerprint": details["vocabulary_fingerprint"],
        "encoder": details["encoder"],
        "idf": details["idf"],
        "has_query_encoder": collection.query_encoder_path is not None,
        "dense": details.get("dense"),
        "fields": collection.fields,
        "config": collection.manifest.config,
        "created": collection.manifest.created,
    }


def show_info(result: dict[str, Any]) -> None:
    """Print the description of a collection."""
    from lsr.core import console

    segments = result["segments"]
    n_dead = sum(s["n_rows"] - s["n_alive"] for s in segments)
    lines = [
        ("live collection", f"{result['layout']} segments"),
        ("documents", f"{result['n_documents']:,}"),
        ("  in the head", f"{result['head_documents']:,}"),
        ("  in segments", f"{sum(s['n_alive'] for s in segments):,} in {len(segments)}"),
        ("  dead rows", f"{n_dead:,}"),
        ("generation", f"{result['generation']:,}"),
        ("fields", described_fields(result["fields"])),
        ("vocabulary", f"{result['vocabulary_size']:,} · {result['vocabulary_fingerprint'][:12]}"),
        ("encoder", f"{result['encoder']} (idf: {result['idf']})"),
        ("query encoder", "in the folder" if result["has_query_encoder"] else "none"),
        ("dense half", described_dense(result["dense"])),
        ("segments", f"{sum(s['bytes'] for s in segments) / 1e6:,.2f} MB"),
        ("store", f"{(result['store_bytes'] + result['log_bytes']) / 1e6:,.2f} MB"),
        ("created", result["created"]),
    ]
    console.print_table(["", result["path"]], lines)


def described_dense(dense: Mapping[str, Any] | None) -> str:
    """Return what a dense half is made of."""
    if dense is None:
        return "none"
    kind = f" ({dense['kind']})" if "kind" in dense else ""
    return f"{dense['encoder'] or 'made elsewhere'}, {dense['width']} numbers a document{kind}"


def described_fields(fields: Mapping[str, str]) -> str:
    """Return the fields that filters may name, with their types."""
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(fields.items())) or "none"


def verify_collection(path: Path) -> None:
    """Run ``lsr index verify`` on a collection."""
    from indexing.collection_copies import verify
    from lsr.core import console
    from lsr.core.errors import CheckFailedError

    problems = verify(path)
    result = {"path": str(path), "problems": problems}
    if problems:
        raise CheckFailedError(
            f"{path} is damaged: {'; '.join(problems[:10])}.",
            hint="lsr index repair builds segments again; lsr index restore brings back the rest.",
        )
    console.emit(result, lambda: typer.echo(f"OK: {path} is as written."))
