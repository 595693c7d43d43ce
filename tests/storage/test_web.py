"""Logs behind web addresses: what a server answers is told as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import tenacity

from fae.format.errors import LogError, StorageError
from fae.logs.files import find_logs
from fae.storage import remote
from tests.support.small_logs import SHOP, SHOP_LOG

pytest.importorskip("aiohttp")


class Server(BaseHTTPRequestHandler):
    """Answers /500 and the like with that status, and the first request of /busy with 503."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name = self.path.strip("/").partition("?")[0]
        busy = name == "busy" and self.asked.count(self.path) < 3
        status = 503 if busy else int(name) if name.isdigit() else 200
        self.send_response(status)
        data = SHOP_LOG.encode() if status == 200 else b""
        if name != "endless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve on this machine, with retries that do not wait."""
    monkeypatch.setattr(remote, "_RETRY", remote._RETRY.copy(wait=tenacity.wait_none()))
    Server.asked.clear()
    with HTTPServer(("127.0.0.1", 0), Server) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "retried"), [(500, True), (403, False)])
def test_what_a_server_answers_is_told(server: str, status: int, retried: bool) -> None:
    with pytest.raises(StorageError, match=f"/{status}: {status}, .*check the endpoint"):
        find_logs([f"{server}/{status}?key=secret"], SHOP)
    assert (len(Server.asked) > 2) == retried


def test_an_absent_file_is_no_log(server: str) -> None:
    with pytest.raises(LogError, match="no log found at"):
        find_logs([f"{server}/404"], SHOP)


def test_a_refused_port_is_told_as_such(server: str) -> None:
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:1/a\.csv: Cannot connect"):
        find_logs(["http://127.0.0.1:1/a.csv"], SHOP)


def test_a_busy_server_is_asked_again(server: str) -> None:
    (log,) = find_logs([f"{server}/busy#token"], SHOP)
    assert (log.name, log.bytes, log.root) == ("busy", len(SHOP_LOG), f"{server}/")


def test_a_server_that_does_not_say_the_size_is_named(server: str) -> None:
    with pytest.raises(StorageError, match="/endless: the server does not say how many bytes"):
        find_logs([f"{server}/endless"], SHOP)
