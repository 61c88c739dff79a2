"""Serves one file from this machine to one web page, once."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from tracekit.errors import HostError

if TYPE_CHECKING:
    from types import TracebackType

HOST: Final = "127.0.0.1"
PERFETTO_ORIGIN: Final = "https://ui.perfetto.dev"
PERFETTO_PORT: Final = 9001
"""The one port of this machine that the page may fetch from, by its content security policy."""

_METHODS: Final = "GET, HEAD, OPTIONS"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_SILENT_S: Final = 60
"""A connection that says nothing for so long is closed."""
_POLL_S: Final = 0.2
_STARTUP: Final = dumps([{"id": "dev.perfetto.ExpandTracksByRegex", "args": ["^tracekit: "]}])


class OneFileServer:
    """Answers on 127.0.0.1 for one file, at an address that nobody can guess, until it was fetched.

    It is bound when it is made, and answers after `start`. Pages of other origins than `origin`
    (null: of any other than its own) get nothing, nor do requests for other hosts, paths or
    methods. Port 0 is any free one.

    Raises
    ------
    HostError
        The port is taken, or cannot be bound.
    """

    def __init__(self, *, origin: str | None, port: int = 0) -> None:
        try:
            self._server = _Server((HOST, port), _Handler)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise HostError(f"{HOST}:{port}: cannot be served from ({reason})") from error
        self._server.origin = origin
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True)

    @property
    def port(self) -> int:
        """The port that it answers on."""
        return int(self._server.server_address[1])

    def start(self, path: Path, name: str | None = None, content_type: str | None = None) -> str:
        """Answer for a file from now on, and return its address; `name` is what it is called.

        Raises
        ------
        HostError
            The file cannot be read.
        """
        try:
            with path.open("rb"):
                self._server.size_bytes = path.stat().st_size
        except OSError as error:
            raise HostError(f"{path}: cannot be read ({(error.strerror or '').lower()})") from error
        self._server.file = path
        self._server.content_type = content_type or "application/octet-stream"
        safe = _UNSAFE.sub("_", name or path.name).lstrip(".") or "file"
        self._server.place = f"/{secrets.token_urlsafe(16)}/{safe}"
        self._thread.start()
        return f"http://{HOST}:{self.port}{self._server.place}"

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the file was fetched as a whole; false if that did not happen in time."""
        left_s = timeout_s
        # In steps, so that Ctrl-C is heard on every platform.
        while not self._server.fetched.wait(_POLL_S if left_s is None else min(_POLL_S, left_s)):
            if left_s is not None:
                left_s -= _POLL_S
                if left_s <= 0:
                    return False
        return True

    def close(self) -> None:
        """Stop answering."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> OneFileServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def perfetto_address(file_address: str) -> str:
    """Return the address at which Perfetto's UI opens a file, with tracekit's tracks unfolded.

    The documented deep link: https://perfetto.dev/docs/visualization/deep-linking-to-perfetto-ui.
    """
    return f"{PERFETTO_ORIGIN}/#!/?url={file_address}&startupCommands={quote(_STARTUP, safe='')}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Elsewhere the option lets two programs have one port.
    allow_reuse_address = os.name == "posix"
    origin: str | None = None
    file: Path | None = None
    place = ""
    size_bytes = 0
    content_type = ""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.fetched = Event()
        self.was_sent = False
        super().__init__(address, handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Tell of a whole answer only when its connection is closed in order."""
        super().process_request_thread(request, client_address)
        if self.was_sent:
            self.fetched.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that break."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    headers: Message
    timeout = _SILENT_S
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Send the file."""
        if not self._is_welcome() or self.server.file is None:
            return
        with self.server.file.open("rb") as file:
            self._head()
            shutil.copyfileobj(file, self.wfile, 1 << 20)
        self.wfile.flush()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
        self.server.was_sent = True

    def do_HEAD(self) -> None:
        """Send what comes before the file."""
        if self._is_welcome():
            self._head()

    def do_OPTIONS(self) -> None:
        """Allow the page to fetch the file from a network of lower rank than its own."""
        if not self._is_welcome():
            return
        private = self.headers.get("Access-Control-Request-Private-Network") == "true"
        fields = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Max-Age": "0"}
        if private:
            fields["Access-Control-Allow-Private-Network"] = "true"
        self._answer(HTTPStatus.NO_CONTENT, fields)

    def send_error(
        self,
        code: int,
        message: str | None = None,  # noqa: ARG002
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """Refuse without a word: a method that is not known, or what is no HTTP."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": _METHODS})
        else:
            self._refuse(HTTPStatus(code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the terminal quiet."""

    def version_string(self) -> str:
        """Return what the server calls itself: no versions."""
        return "tracekit"

    def _is_welcome(self) -> bool:
        """Whether host, origin and path are the expected ones; refuse the request if not."""
        if self.headers.get_all("Host") != [f"{HOST}:{self.server.server_address[1]}"]:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return False
        origin = self.headers.get("Origin")
        if origin is not None and origin != self.server.origin:
            self._refuse(HTTPStatus.FORBIDDEN)
            return False
        # `path` is what http.server made of it: without slashes at its start.
        if not self.server.place or self.requestline.split()[1:2] != [self.server.place]:
            self._refuse(HTTPStatus.NOT_FOUND)
            return False
        return True

    def _head(self) -> None:
        self._answer(
            HTTPStatus.OK,
            {
                "Content-Type": self.server.content_type,
                "Content-Length": str(self.server.size_bytes),
            },
        )

    def _refuse(self, status: HTTPStatus, fields: Mapping[str, str] | None = None) -> None:
        self.close_connection = True
        self._answer(status, {"Content-Length": "0", **(fields or {})}, is_welcome=False)

    def _answer(
        self, status: HTTPStatus, fields: Mapping[str, str], *, is_welcome: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if is_welcome and self.server.origin is not None:
            self.send_header("Access-Control-Allow-Origin", self.server.origin)
            self.send_header("Vary", "Origin")
        self.end_headers()
