"""`tracekit open`: the server is for one page, one file, one time."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from annotation_helpers import EXAMPLES, own_events, small
from tracekit.cli import cli, run
from tracekit.errors import HostError
from tracekit.serving import (
    HOST,
    PERFETTO_ORIGIN,
    PERFETTO_PORT,
    OneFileServer,
    perfetto_address,
)

ROOT = Path(__file__).parent.parent
CONTENT = b"\x1f\x8b the trace \r\n\r\n" * 10_000


class Served:
    """A server on a free port, and raw requests to it."""

    def __init__(self, server: OneFileServer, address: str) -> None:
        self.server = server
        self.address = address
        self.path = urlsplit(address).path
        self.host = f"{HOST}:{server.port}"

    def send(self, text: str | bytes) -> tuple[int, dict[str, str], bytes]:
        data = text.encode() if isinstance(text, str) else text
        with socket.create_connection((HOST, self.server.port), timeout=10) as connection:
            connection.sendall(data)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        if not answer:
            return 0, {}, b""
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return int(first.split()[1]), fields, body

    def ask(
        self, method: str = "GET", path: str | None = None, **fields: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        given = {"Host": self.host, "Origin": PERFETTO_ORIGIN, **fields}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value]
        head = f"{method} {self.path if path is None else path} HTTP/1.1"
        return self.send("\r\n".join([head, *lines, "", ""]))

    def is_over(self) -> bool:
        return self.server.wait(0.5)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    file = tmp_path / "my trace.json.gz"
    file.write_bytes(CONTENT)
    (tmp_path / "secret.json").write_text("secret")
    with OneFileServer(origin=PERFETTO_ORIGIN) as server:
        yield Served(server, server.start(file))


def test_the_page_gets_the_file_and_the_server_ends(served: Served) -> None:
    status, fields, body = served.ask()
    assert (status, body) == (200, CONTENT)
    assert fields["access-control-allow-origin"] == PERFETTO_ORIGIN
    assert fields["content-length"] == str(len(CONTENT))
    assert fields["cache-control"] == "no-store"
    assert "content-encoding" not in fields
    assert "python" not in fields["server"].lower()
    assert served.is_over()


def test_a_head_ends_nothing(served: Served) -> None:
    status, fields, body = served.ask("HEAD")
    assert (status, body) == (200, b"")
    assert fields["content-length"] == str(len(CONTENT))
    assert not served.is_over()


def test_a_fetch_that_breaks_off_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"\0" * 50_000_000)
    with OneFileServer(origin=PERFETTO_ORIGIN) as server:
        served = Served(server, server.start(tmp_path / "big"))
        with socket.create_connection((HOST, server.port), timeout=10) as connection:
            connection.sendall(
                f"GET {served.path} HTTP/1.1\r\nHost: {served.host}\r\n\r\n".encode()
            )
            assert connection.recv(1000)
        assert not served.is_over()
        assert len(served.ask()[2]) == 50_000_000
        assert served.is_over()


def test_a_silent_connection_holds_nobody_up(served: Served) -> None:
    with socket.create_connection((HOST, served.server.port), timeout=10):
        assert served.ask()[0] == 200
    assert served.is_over()


def test_the_preflight_of_a_public_page(served: Served) -> None:
    status, fields, _ = served.ask(
        "OPTIONS",
        Access_Control_Request_Method="GET",
        Access_Control_Request_Private_Network="true",
    )
    assert status == 204
    assert fields["access-control-allow-origin"] == PERFETTO_ORIGIN
    assert fields["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in served.ask("OPTIONS")[1]
    assert not served.is_over()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://ui.perfetto.dev", "*"])
def test_other_origins_get_nothing(served: Served, origin: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        status, fields, body = served.ask(method, Origin=origin)
        assert (status, body) == (403, b"")
        assert not [name for name in fields if name.startswith("access-control")]
    assert not served.is_over()


def test_a_program_without_origin_gets_the_file(served: Served) -> None:
    assert served.ask(Origin=None)[2] == CONTENT


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:PORT", "localhost:PORT", "127.0.0.1", ""]
)
def test_other_hosts_get_nothing(served: Served, host: str) -> None:
    status, _, body = served.ask(Host=host.replace("PORT", str(served.server.port)))
    assert (status, body) == (421, b"")
    assert not served.is_over()


def test_two_hosts_get_nothing(served: Served) -> None:
    text = f"GET {served.path} HTTP/1.1\r\nHost: {served.host}\r\nHost: evil.example\r\n\r\n"
    assert served.send(text)[0] == 421
    assert served.send(f"GET {served.path}\r\n\r\n") == (0, {}, b"")


def test_paths(served: Served) -> None:
    token = served.path.split("/")[1]
    name = served.path.split("/")[2]
    assert re.fullmatch(r"[\w-]{22}", token)
    assert name == "my_trace.json.gz"
    for path in (
        "/",
        "",
        "*",
        f"/{name}",
        f"/{token}",
        f"/{token}/",
        f"/{token}/secret.json",
        f"/{token}/../secret.json",
        f"/{token}/%2e%2e/{token}/{name}",
        f"//{token}/{name}",
        f"/./{token}/{name}",
        f"{served.path}?x=1",
        f"{served.path}#x",
        f"{served.path}/",
        served.path.upper(),
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd\x00.json",
        served.address,
        f"/{'a' * 60_000}",
    ):
        status, _, body = served.ask(path=path)
        assert status in (0, 400, 404, 414), path
        assert body == b""
    assert not served.is_over()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get"])
def test_other_methods(served: Served, method: str) -> None:
    status, fields, body = served.ask(method)
    assert (status, body) == (405, b"")
    assert fields["allow"] == "GET, HEAD, OPTIONS"
    assert not served.is_over()


def test_no_http_at_all(served: Served) -> None:
    for data in (b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((HOST, served.server.port), timeout=10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert b"trace" not in connection.recv(1 << 16).replace(b"tracekit", b"")
    assert served.ask()[0] == 200


def test_it_is_bound_to_this_machine_alone(served: Served) -> None:
    assert served.server._server.socket.getsockname()[0] == "127.0.0.1"


def test_addresses_differ(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"x")
    found = set()
    for _ in range(3):
        with OneFileServer(origin=None) as server:
            found.add(urlsplit(server.start(tmp_path / "t")).path)
    assert len(found) == 3


def test_a_page_of_its_own_has_no_foreign_origins(tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("<p>report")
    with OneFileServer(origin=None) as server:
        address = server.start(tmp_path / "r.html", content_type="text/html; charset=utf-8")
        served = Served(server, address)
        assert served.ask()[0] == 403
        status, fields, body = served.ask(Origin=None)
        assert (status, body) == (200, b"<p>report")
        assert fields["content-type"] == "text/html; charset=utf-8"
        assert "access-control-allow-origin" not in fields


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with OneFileServer(origin=None) as server, pytest.raises(HostError, match="in use"):
        OneFileServer(origin=None, port=server.port)


def test_the_deep_link() -> None:
    address = perfetto_address("http://127.0.0.1:9001/token/t.json.gz")
    assert address.startswith(f"{PERFETTO_ORIGIN}/#!/?url=http://127.0.0.1:9001/token/t.json.gz&")
    (commands,) = parse_qs(urlsplit(address).fragment.removeprefix("!/?"))["startupCommands"]
    assert json.loads(unquote(commands))[0]["id"] == "dev.perfetto.ExpandTracksByRegex"


def port_is_free() -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PERFETTO_PORT))
        except OSError:
            return False
    return True


needs_the_port = pytest.mark.skipif(not port_is_free(), reason="port 9001 is taken on this machine")


def opened(*args: str | Path) -> tuple[subprocess.Popen[str], Served]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tracekit", "open", *map(str, args), "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()
    told = parse_qs(urlsplit(line.strip()).fragment.removeprefix("!/?")).get("url")
    address = told[0] if told else line.strip()
    served = Served.__new__(Served)
    served.server = type("Port", (), {"port": urlsplit(address).port})()  # type: ignore[assignment]
    served.address, served.path = address, urlsplit(address).path
    served.host = urlsplit(address).netloc
    return process, served


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=10)
    return process.returncode, out, err


@needs_the_port
def test_open_gives_the_annotated_trace_and_ends(tmp_path: Path) -> None:
    source = small().write(tmp_path / "my run.json")
    process, served = opened(source)
    assert served.host == f"127.0.0.1:{PERFETTO_PORT}"
    assert served.path.endswith("/my_run.json.gz")
    value = json.loads(gzip.decompress(served.ask()[2]))
    assert len(own_events(value)) > 20
    assert finished(process) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["my run.json"]


@needs_the_port
def test_open_plain_gives_the_file_as_it_is() -> None:
    source = EXAMPLES / "pixart_cudagraph.json.gz"
    process, served = opened(source, "--plain")
    assert served.ask()[2] == source.read_bytes()
    assert finished(process) == (0, "", "")


@needs_the_port
def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    process, served = opened(small().write(tmp_path / "t.json"))
    assert served.ask("HEAD")[0] == 200
    process.send_signal(signal.SIGINT)
    assert finished(process) == (130, "", "tracekit: interrupted\n")
    time.sleep(0.1)
    assert port_is_free()


@needs_the_port
def test_open_says_so_where_the_port_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with OneFileServer(origin=None, port=PERFETTO_PORT):
        assert run(["open", str(tmp_path / "not even there.json")]) == 5
    told = capsys.readouterr().err
    assert "127.0.0.1:9001" in told
    assert "no other port" in told
    assert "tracekit annotate" in told


@needs_the_port
def test_open_takes_several_ranks(tmp_path: Path) -> None:
    for rank in range(2):
        folder = tmp_path / "ranks" / f"rank{rank}"
        folder.mkdir(parents=True)
        small().write(folder / "t.json")
    process, served = opened(tmp_path / "ranks")
    assert served.path.endswith("/ranks.pftrace.gz")
    assert b"rank 1, GPU 0" in gzip.decompress(served.ask()[2])
    assert finished(process) == (0, "", "")


@pytest.mark.parametrize("is_written", [True, False])
def test_open_shows_the_report(is_written: bool, tmp_path: Path) -> None:
    source = small().write(tmp_path / "t.json")
    page = tmp_path / "r.html"
    assert run(["report", str(source), "-o", str(page)]) == 0
    process, served = opened(page if is_written else source, "--report")
    # A browser that goes to an address itself names no origin.
    status, fields, body = served.ask(Origin=None)
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert body == page.read_bytes()
    assert finished(process) == (0, "", "")


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["open", "t.json", "--plain", "--format", "json"]) == 2
    assert "--plain" in capsys.readouterr().err
    assert run(["open", "t.json", "--plain", "--report"]) == 2
    assert "--report" in capsys.readouterr().err
    assert run(["open", str(tmp_path / "none.html"), "--report", "--no-browser"]) == 5
    assert "none.html: cannot be read" in capsys.readouterr().err
    assert {"annotate", "open"} <= set(cli.commands)
