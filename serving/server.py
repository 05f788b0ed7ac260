"""Running the application: the socket first, then the indexes, then uvicorn until a signal."""

from __future__ import annotations

import errno
import importlib.util
import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lsr.core.errors import MissingDependencyError, PortInUseError, ServiceError
from serving.settings import IndexSource, ServeSettings

if TYPE_CHECKING:
    from serving.forwarding import Place

__all__ = ["bind", "run", "serve_app", "url_of"]

logger = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the address, before anything slow is loaded.

    Raises
    ------
    PortInUseError
        If another process listens there.
    ServiceError
        If the address cannot be bound for another reason.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServiceError(
            f"Cannot listen on {host}: {error.strerror or error}.", hint="Check --host."
        ) from error
    # Without it a restart would have to wait until old connections have timed out.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(2048)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"Another process listens on port {port} of {host}.",
                hint=f"Stop it, or choose another port: --port {port + 1} (0 takes any free one).",
            ) from None
        raise ServiceError(
            f"Cannot listen on port {port} of {host}: {error.strerror}.",
            hint="Ports below 1024 need privileges; choose a higher one with --port.",
        ) from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Return the address of a bound socket, to open in a browser."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def run(
    settings: ServeSettings,
    sources: Sequence[IndexSource],
    *,
    bound: socket.socket,
    on_ready: Callable[[], None],
    quiet: bool = False,
) -> None:
    """Serve until a stop signal; requests that run then are finished first.

    Parameters
    ----------
    settings : ServeSettings
        How to serve.
    sources : sequence of IndexSource
        The indexes.
    bound : socket
        From `bind`; closed at the end.
    on_ready : callable
        Called once searches are answered.
    quiet : bool
        Whether other processes of the service log warnings and errors only.

    Raises
    ------
    MissingDependencyError
        If the web server is not installed.
    LsrError
        Whatever keeps an index from being opened.
    """
    for package in ("uvicorn", "fastapi", "httpx"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, extra="serve", purpose="The HTTP service")
    with bound:
        if settings.workers > 1:
            from serving.sources import takes_writes
            from serving.workers import run_workers

            run_workers(
                settings,
                sources,
                bound=bound,
                writes=settings.data is not None or any(takes_writes(s.path) for s in sources),
                quiet=quiet,
                on_ready=on_ready,
            )
            return

        def started(failure: Exception | None) -> None:
            if failure is None:
                on_ready()

        serve_app(settings, sources, sockets=[bound], on_started=started)


def serve_app(
    settings: ServeSettings,
    sources: Sequence[IndexSource],
    *,
    sockets: list[socket.socket],
    on_started: Callable[[Exception | None], None],
    place: Place | None = None,
) -> None:
    """Run the application in this process on bound sockets; as `run` otherwise.

    Parameters
    ----------
    on_started : callable
        Called once searches are answered, or with what keeps them from it.
    place : Place, optional
        This process among several.
    """
    import uvicorn

    from serving.app import create_app

    failures: list[Exception] = []

    def started(failure: Exception | None) -> None:
        if failure is not None:
            failures.append(failure)
        on_started(failure)

    config = uvicorn.Config(
        create_app(settings, sources, place=place, on_started=started),
        log_config=None,
        access_log=False,
        # A version helps nobody but attackers.
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_s,
    )
    # Its error log repeats the traceback of what is raised below.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    try:
        uvicorn.Server(config).run(sockets=sockets)
    except SystemExit:
        # How uvicorn leaves when the application did not start.
        if not failures:
            raise
    if failures:
        raise failures[0]
