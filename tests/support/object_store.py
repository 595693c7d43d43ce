"""A real S3 server over HTTP (moto's) that can fail or be slow at random.

As a program it serves until its standard input ends: `python object_store.py SHARE SEED KINDS`.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest

SECRET = "do-not-show-this-8f1c"
KEY = "key-id-of-the-tests"
KINDS = "500,503,dropped,slow"
Start = Callable[..., Any]


_CODES = {"403": "InvalidAccessKeyId", "500": "InternalError", "503": "SlowDown"}


class Faults:
    """An application in front of another, which spoils `share` of its requests, by `seed`.

    It knows one key id, as the one behind it asks for none. `/hold/PATH` makes requests for PATH
    wait until `/release`, which drops them.
    """

    def __init__(
        self, application: Callable[..., Any], share: float, seed: int, kinds: list[str]
    ) -> None:
        self.application, self.share, self.kinds = application, share, kinds
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.counts = dict.fromkeys([*kinds, "answered"], 0)
        self.writes: Counter[str] = Counter()
        self.held, self.waiting, self.released = "", threading.Event(), threading.Event()

    def __call__(self, environ: dict[str, Any], start: Start) -> Any:
        if environ["PATH_INFO"] in ("/faults", "/writes"):
            start("200 OK", [("Content-Type", "application/json")])
            told = self.counts if environ["PATH_INFO"] == "/faults" else self.writes
            return [json.dumps(told).encode()]
        if self._controlled(environ["PATH_INFO"]):
            start("200 OK", [])
            return []
        if self.held and environ["PATH_INFO"] == self.held:
            self.waiting.set()
            self.released.wait()
            drop(environ)
        with self.lock:
            kind = draw_kind(self.random, self.share, self.kinds)
            self.counts[kind] += 1
        signed = environ.get("HTTP_AUTHORIZATION", "")
        if signed and f"Credential={KEY}/" not in signed:
            kind = "403"
        if kind in _CODES:
            start(f"{kind} {_CODES[kind]}", [("Content-Type", "application/xml")])
            text = f"<Error><Code>{_CODES[kind]}</Code><Message>by design</Message></Error>"
            return [text.encode()]
        if kind == "dropped":
            drop(environ)
        if kind == "slow":
            time.sleep(0.2)
        if environ["REQUEST_METHOD"] == "PUT":
            self.writes[environ["PATH_INFO"]] += 1
        return self.application(environ, start)

    def _controlled(self, path: str) -> bool:
        """Whether the path is a word to this application, which is then done."""
        if path.startswith("/hold/"):
            self.held = path.removeprefix("/hold")
        elif path == "/waiting":
            self.waiting.wait()
        elif path == "/release":
            self.held = ""
            self.released.set()
        else:
            return False
        return True


def draw_kind(draw: random.Random, share: float, kinds: list[str]) -> str:
    """Draw how a request is spoilt, or "answered"."""
    return draw.choice(kinds) if draw.random() < share else "answered"


def draw_seed(share: float, kinds: str, requests: int, least: int) -> int:
    """Return any seed by which at least `least` of the first `requests` are spoilt; print it."""
    while True:
        seed = random.randrange(1000)
        draw = random.Random(seed)
        drawn = [draw_kind(draw, share, kinds.split(",")) for _ in range(requests)]
        if requests - drawn.count("answered") >= least:
            print(f"seed {seed}")  # shown when a test fails
            return seed


def drop(environ: dict[str, Any]) -> None:
    """Cut the connection of a request."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionError("dropped")


def serve(share: float, seed: int, kinds: str) -> None:
    """Serve at a free port, which is printed, until standard input ends."""
    from moto.server import create_backend_app
    from werkzeug.serving import make_server

    moto = create_backend_app("s3")  # its dispatcher would seek the service anew each time
    application = Faults(moto, share, seed, kinds.split(","))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


@contextmanager
def object_store(share: float = 0.0, seed: int = 0, kinds: str = KINDS) -> Iterator[str]:
    """Start a server with the bucket `data`; set its endpoint for this process and its children."""
    command = [sys.executable, str(Path(__file__)), str(share), str(seed), kinds]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        forget()
        _make_bucket(endpoint)
        try:
            yield endpoint
        finally:
            forget()
            server.kill()


def _make_bucket(endpoint: str) -> None:
    for attempt in range(10):
        try:
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/data", method="PUT")).close()
        except OSError:  # at random
            if attempt == 9:
                raise
        else:
            return


def tell(endpoint: str, word: str) -> None:
    """Say a word such as `/release` to the server."""
    urllib.request.urlopen(f"{endpoint}{word}", timeout=60).close()


def asked(endpoint: str, word: str) -> dict[str, int]:
    """How many requests were spoilt in which way (`/faults`), or wrote which path (`/writes`)."""
    with urllib.request.urlopen(f"{endpoint}{word}") as answer:
        return json.loads(answer.read())


def forget() -> None:
    """Drop the file systems of former endpoints and credentials."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


if __name__ == "__main__":
    serve(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
