"""``lsr search``, ``lsr explain``, ``lsr serve``, ``lsr demo``, ``lsr keys``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lsr.core.options import JsonOption, QuietOption, ThreadsOption

if TYPE_CHECKING:
    from serving.engine import Engine
    from serving.highlight import ShownTerms
    from serving.results import Answer

__all__ = ["register"]

IndexArgument = Annotated[Path, typer.Argument(help="An index folder.", show_default=False)]
QueryArgument = Annotated[str, typer.Argument(help="What to search for.", show_default=False)]
PortOption = Annotated[
    int | None,
    typer.Option("--port", help="0 takes any free one [default: LSR_SERVE_PORT, else 8000]."),
]


def register(app: typer.Typer) -> None:
    """Mount the verbs."""
    from serving import key_commands

    app.command("search")(search)
    app.command("explain")(explain)
    app.command("serve")(serve)
    app.command("demo")(demo)
    key_commands.register(app)


def search(
    index: IndexArgument,
    query: QueryArgument,
    k: Annotated[int, typer.Option("-k", "--k", help="Number of results.")] = 10,
    with_explanation: Annotated[
        bool, typer.Option("--explain", help="Show what each term gives to each score.")
    ] = False,
    params: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A search parameter of the layout."),
    ] = None,
    filter_json: Annotated[
        str | None,
        typer.Option("--filter", metavar="JSON", help="Only documents whose metadata pass."),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Use the parameters tuned for it (lsr index tune)."),
    ] = None,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many of the best.")] = 0,
    hybrid: Annotated[
        bool,
        typer.Option(
            "--hybrid", help="Fuse with the dense half (lsr index dense, lsr index create --dense)."
        ),
    ] = False,
    fusion: Annotated[
        Literal["rrf", "convex"],
        typer.Option("--fusion", help="rrf: reciprocal ranks; convex: min-max scores."),
    ] = "rrf",
    dense_weight: Annotated[
        float,
        typer.Option("--dense-weight", min=0, help="Of the dense half; the sparse one's is 1."),
    ] = 1.0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search an index.

    Example: `lsr search scifact.index "vitamin D and bone density" -k 3 --explain`
    """
    from lsr.core import console
    from lsr.core.config import parse_override
    from serving.display import show_answer
    from serving.engine import Engine
    from serving.hybrid import Hybrid
    from serving.results import Detail

    console.configure(quiet=quiet, json_output=as_json)
    # Checked even where it is not used: a typing mistake is an error.
    halves = Hybrid(fusion=fusion, dense=dense_weight)
    values = {".".join(path): value for path, value in map(parse_override, params or [])}
    engine = Engine.open(index)
    try:
        engine.warm_up(dense=hybrid)
        answer = engine.search(
            query,
            k,
            offset=offset,
            params=engine.params(values, target_recall=recall),
            filter=filter_json,
            hybrid=halves if hybrid else None,
            detail=Detail(highlights=True, explanation=with_explanation),
        )
        in_query = engine.queries.shown_terms(query)
        console.emit(
            _result(engine, answer, in_query),
            lambda: show_answer(answer, engine.vocabulary, in_query=in_query, query=query),
        )
    finally:
        engine.close()


def _result(engine: Engine, answer: Answer, in_query: ShownTerms) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    from serving.answers import search_response

    response = search_response(
        engine,
        answer,
        fields=("title", "text"),
        highlight=True,
        in_query=in_query,
        params={},
        request_id="",
    )
    shown = {name: v for name, v in response.items() if name not in ("request_id", "params")}
    result: dict[str, Any] = to_jsonable_python(shown)
    return result


def explain(
    index: IndexArgument,
    query: QueryArgument,
    doc_id: Annotated[str, typer.Argument(help="Identifier of a document.", show_default=False)],
    k: Annotated[int, typer.Option("-k", "--k", help="Is it among so many best?")] = 10,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Explain the score of one document, found by the query or not.

    Example: `lsr explain scifact.index "vitamin D and bone density" 4983`
    """
    from lsr.core import console
    from serving.answers import explained_terms
    from serving.display import show_terms
    from serving.engine import Engine
    from serving.schemas_search import TermWeight

    console.configure(quiet=quiet, json_output=as_json)
    engine = Engine.open(index)
    try:
        explanation, reason, message = engine.explain(query, doc_id, k=k)
        terms = explained_terms(
            explanation,
            in_query=engine.queries.shown_terms(query),
            in_document=engine.shown_in(doc_id),
        )
    finally:
        engine.close()
    missing = [TermWeight(token=t.token, weight=t.query_weight) for t in explanation.missing]
    result = {
        "doc_id": doc_id,
        "score": explanation.score,
        "terms": [term.model_dump() for term in terms],
        "missing": [term.model_dump(exclude_unset=True) for term in missing],
        "reason": reason,
        "message": message,
    }

    def show() -> None:
        show_terms(terms, missing, explanation.score)
        typer.echo(message)

    console.emit(result, show)


def serve(
    indexes: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[INDEX...]", help="Index folders and collections.", show_default=False
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="Serve the first, second … index as [default: its folder]."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of the collections made over HTTP, and of snapshots."),
    ] = None,
    encoders: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            metavar="[NAME=]PATH",
            help="An encoder that collections may be made with.",
        ),
    ] = None,
    dense_encoders: Annotated[
        list[str] | None,
        typer.Option(
            "--dense-encoder",
            metavar="[NAME=]PATH",
            help="A bi-encoder that collections may be given for hybrid search.",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address [default: LSR_SERVE_HOST, else 127.0.0.1].")
    ] = None,
    port: PortOption = None,
    keys_file: Annotated[
        Path | None, typer.Option("--keys-file", help="API keys, made by `lsr keys add`.")
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen beyond this machine without API keys.")
    ] = False,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A Host header to answer; `*` for all."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Open collections for reading only.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes that answer searches.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Requests a second that one key, or address, may make."),
    ] = None,
    threads: ThreadsOption = None,
    access_log: Annotated[
        bool | None,
        typer.Option("--access-log/--no-access-log", help="One JSON line a request on stderr."),
    ] = None,
    log_queries: Annotated[
        bool, typer.Option("--log-queries", help="Write the queries into the access log.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve indexes and live collections over HTTP, with a page for people at /.

    Example: `lsr serve scifact.index --port 8000`, then
    `curl 'http://127.0.0.1:8000/v1/indexes/scifact.index/search?q=vitamin+D&k=3'`; or
    `lsr serve --data lsr-data --encoder splade=models/splade` to make collections over HTTP.
    """
    from lsr.core import console
    from lsr.core.errors import ConfigError
    from lsr.core.settings import load_settings
    from serving import server
    from serving.settings import ServeSettings, name_indexes

    console.configure(quiet=quiet, json_output=as_json)
    settings = load_settings(
        ServeSettings,
        host=host,
        port=port,
        data=data,
        encoders=tuple(encoders) if encoders else None,
        dense_encoders=tuple(dense_encoders) if dense_encoders else None,
        keys_file=keys_file,
        allow_remote=allow_remote or None,
        allowed_hosts=tuple(allowed_hosts) if allowed_hosts else None,
        read_only=read_only or None,
        workers=workers,
        rate=rate,
        threads=threads,
        access_log=access_log,
        log_queries=log_queries or None,
    )
    if settings.access_log:
        console.configure_lines("serving.access")
    if not indexes and settings.data is None:
        raise ConfigError(
            "There is nothing to serve: neither an index nor a data folder was given.",
            hint="Pass index folders, or --data DIR to make collections over HTTP.",
        )
    sources = name_indexes(indexes or [], names or [])
    bound = server.bind(settings.host, settings.port)
    url = server.url_of(bound)
    result = {"url": url, "indexes": [source.name for source in sources]}
    server.run(
        settings,
        sources,
        bound=bound,
        on_ready=lambda: console.emit(result, lambda: _announce(url)),
        quiet=quiet,
    )


def _announce(url: str) -> None:
    typer.echo(f"Ready at {url}  (API at {url}/docs, stop with Ctrl-C)")


def demo(
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Leave after the searches.")] = False,
    port: PortOption = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", "-e", help="Another encoder than the default.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Index the shipped Wikipedia paragraphs, search them, and open a page to go on.

    Needs no network. Example: `lsr demo --port 8000`
    """
    import time

    from lsr.core import console
    from lsr.core.settings import get_settings, load_settings
    from serving import server
    from serving.demo import DEMO_QUERIES, prepare_demo
    from serving.display import show_answer
    from serving.engine import Engine
    from serving.results import Detail
    from serving.settings import IndexSource, ServeSettings

    console.configure(quiet=quiet, json_output=as_json)
    settings = load_settings(ServeSettings, host="127.0.0.1", port=port, access_log=False)
    # Before the work, so that a taken port is told at once.
    bound = None if no_serve else server.bind(settings.host, settings.port)
    started = time.perf_counter()
    made = prepare_demo(get_settings().home, encoder=encoder)
    engine = Engine.open(made.path, name="demo")
    engine.warm_up()
    seconds = time.perf_counter() - started
    answers = [
        engine.search(query, 3, detail=Detail(highlights=True, explanation=True))
        for query in DEMO_QUERIES
    ]
    shown = [engine.queries.shown_terms(query) for query in DEMO_QUERIES]
    url = server.url_of(bound) if bound is not None else None
    result = {
        "index": str(made.path),
        "reused": made.reused,
        "n_documents": engine.n_documents,
        "encoder": engine.encoder.name if engine.encoder is not None else None,
        "seconds": round(seconds, 3),
        "searches": [
            {"query": query, **_result(engine, answer, terms)}
            for query, answer, terms in zip(DEMO_QUERIES, answers, shown, strict=True)
        ],
        "url": url,
    }

    def show() -> None:
        verb = "Opened" if made.reused else "Encoded and indexed"
        typer.secho(
            f"{verb} {engine.n_documents:,} Wikipedia paragraphs in {seconds:.1f} s.\n", bold=True
        )
        for query, answer, terms in zip(DEMO_QUERIES, answers, shown, strict=True):
            typer.secho(f"❯ {query}", fg="green", bold=True)
            show_answer(answer, engine.vocabulary, in_query=terms, query=query)
            typer.echo()

    console.emit(result, show)
    engine.close()
    if bound is not None:
        server.run(
            settings,
            [IndexSource("demo", made.path, DEMO_QUERIES)],
            bound=bound,
            on_ready=lambda: None if as_json else _announce(str(url)),
        )
