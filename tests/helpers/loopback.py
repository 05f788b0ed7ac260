from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """One file on this machine's own address, with ranges, cuts and refusals on demand."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges = True
        self.cut_after: int | None = None
        self.status: int | None = None
        self.requests: list[str | None] = []
        self.url = ""

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append(wanted)
        if self.status is not None:
            handler.send_error(self.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(self.content) and start:
            handler.send_error(416)
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if self.cut_after is None else body[: self.cut_after])


@contextmanager
def serve(content: bytes) -> Iterator[FileServer]:
    """Serve `content` at ``.url`` until the block ends."""
    state = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state._answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/file.zip"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
