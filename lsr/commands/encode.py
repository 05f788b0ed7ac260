"""``lsr encode``: a dataset to an encoded collection."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lsr.core.options import (
    IdFieldOption,
    JsonOption,
    OverwriteOption,
    QuietOption,
    SkipBadLinesOption,
    TextFieldOption,
    TitleFieldOption,
)

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Mount ``lsr encode``."""
    app.command("encode")(encode)


def encode(
    dataset: Annotated[str, typer.Argument(help="A dataset's name, or its folder or file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder of vectors.")],
    encoder: Annotated[
        str, typer.Option("--encoder", "-e", help="'lexical', a model folder, or a hub id.")
    ] = "lexical",
    queries: Annotated[
        str | None,
        typer.Option("--queries", metavar="SPLIT", help="Encode this query set, not the corpus."),
    ] = None,
    max_active_dims: Annotated[
        int | None,
        typer.Option(min=1, help="Keep at most so many terms a text, the heaviest."),
    ] = None,
    min_weight: Annotated[float, typer.Option(min=0, help="Drop lighter terms.")] = 0.0,
    fold: Annotated[
        bool,
        typer.Option(
            "--fold", help="Move the query table's weights into the documents: binary queries."
        ),
    ] = False,
    positions: Annotated[
        bool,
        typer.Option("--positions", help="Keep where in its text each weight comes from."),
    ] = False,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Texts a batch: speed and memory, not the result.")
    ] = 32,
    shard_size: Annotated[
        int, typer.Option(min=1, help="Texts a shard: what an interruption can cost.")
    ] = 8192,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 … [default: cuda if there is one].")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16 [default: measured on this machine]."),
    ] = None,
    query_max_length: Annotated[
        int | None, typer.Option(min=3, help="Cut queries to so many tokens.")
    ] = None,
    document_max_length: Annotated[
        int | None, typer.Option(min=3, help="Cut documents to so many tokens: faster.")
    ] = None,
    id_field: IdFieldOption = "_id",
    text_field: TextFieldOption = None,
    title_field: TitleFieldOption = "title",
    skip_bad_lines: SkipBadLinesOption = 0,
    overwrite: OverwriteOption = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what an interrupted run left.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Encode a corpus (or a query set) into sparse vectors on disk.

    Run again after an interruption, with the same arguments, it goes on where it stopped.
    Models use LSR_THREADS threads.

    Example: `lsr encode ../shared/data/scifact.tar.zst --encoder lexical --out vectors/scifact`
    """
    from lsr.core import console
    from lsr.core.records import Document
    from lsr.core.settings import get_settings
    from lsr.data import BadLines, FieldMap, load_dataset
    from lsr.encoders import EncodeConfig, encode_collection, prepare_encoder
    from lsr.encoders.folding import fold_encoder

    console.configure(quiet=quiet, json_output=as_json)
    bad = BadLines(skip_bad_lines)
    fields = FieldMap.from_flags(id_field, text_field, title_field)
    corpus = load_dataset(dataset, fields=fields, bad_lines=bad)
    n_documents = corpus.n_documents()

    def texts() -> Iterator[str]:
        stream = console.track(corpus.documents(), "Fitting", n_documents, unit="documents")
        return (document.content for document in stream)

    model = prepare_encoder(
        encoder,
        texts,
        device=device,
        dtype=dtype,
        query_max_length=query_max_length,
        document_max_length=document_max_length,
    )
    if fold:
        model = fold_encoder(model)
    if "torch" in sys.modules:  # loaded by the encoder, if it needs it; other encoders obey alone
        sys.modules["torch"].set_num_threads(get_settings().threads)
    config = EncodeConfig(
        max_active_dims=max_active_dims,
        min_weight=min_weight,
        shard_size=shard_size,
        positions=positions,
    )
    if queries is None:
        source, items, total = corpus.name, corpus.documents(), n_documents
    else:
        source, total = f"{corpus.name}, queries {queries}", None
        items = (Document(q.query_id, q.text) for q in corpus.queries(queries))
    with console.progress_bar("Encoding", total, unit="texts") as advance:
        collection = encode_collection(
            model,
            items,
            out,
            config=config,
            side="documents" if queries is None else "queries",
            batch_size=batch_size,
            source=source,
            advance=advance,
            overwrite=overwrite,
            restart=restart,
        )
    bad.log()
    details = collection.manifest.details
    figures = details["encoding"]
    report = {
        "path": str(out),
        "encoder": details["encoder"],
        "side": details["side"],
        "idf": details["idf"],
        "n_texts": collection.n_documents,
        "n_empty": figures["n_empty"],
        "terms_per_text": figures["terms_per_document"],
        "texts_per_s": figures["documents_per_s"],
        "seconds": figures["encode_seconds"],
        "n_resumed_shards": figures["n_resumed_shards"],
        "vocabulary_size": collection.vocabulary_size,
        "n_bad_lines_skipped": bad.n_skipped,
    }
    console.emit(
        report, lambda: console.print_table(["", "value"], [list(i) for i in report.items()])
    )
