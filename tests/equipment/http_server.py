"""A local HTTP server that misbehaves in every way that matters."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Serves `files` with ETags and ranges; `behave` puts a function in the place of a path's normal answer."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.special: dict[str, list[Behaviour]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, dict(self.headers)))
                waiting = outer.special.get(self.path, [])
                if waiting:
                    # The last behaviour stays, those before it happen once.
                    (waiting.pop(0) if len(waiting) > 1 else waiting[0])(self)
                else:
                    outer.serve(self)

            def do_HEAD(self) -> None:
                content = outer.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    def url(self, path: str) -> str:
        return self.base + path

    def behave(self, path: str, *behaviours: Behaviour) -> str:
        """Answer the requests for `path` by these in turn, the last one for ever; the URL."""
        self.special[path] = list(behaviours)
        return self.url(path)

    def put(self, path: str, content: bytes, kind: str = "application/octet-stream") -> str:
        """Serve a file; its URL."""
        self.files[path], self.types[path] = content, kind
        return self.url(path)

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of all requests for a path."""
        return [headers for asked, headers in self.requests if asked == path]

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """The normal answer of a well-behaved server."""
        if handler.path not in self.files:
            return reply(404, b"no such file")(handler)
        content = self.files[handler.path]
        tag = f'"{len(content)}"'
        found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if found and handler.headers.get("If-Range", tag) == tag and int(found[1]) < len(content):
            start = int(found[1])
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            content = content[start:]
        else:
            handler.send_response(200)
        handler.send_header("ETag", tag)
        handler.send_header("Content-Type", self.types[handler.path])
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()


def reply(status: int, content: bytes = b"", **headers: str) -> Behaviour:
    """Answer with this status, content and headers (underscores stand for dashes)."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return behave


def cut(content: bytes, after: int, tag: str = "") -> Behaviour:
    """Announce all of `content`, send `after` bytes and hang up."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if tag:
            handler.send_header("ETag", tag)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:after])
        handler.close_connection = True

    return behave
