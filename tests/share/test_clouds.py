"""gs:// and az:// against a server that answers as these two clouds do: nothing of them is tried over a network."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

import brainbrr
from brainbrr.errors import UsageError
from brainbrr.store import places
from brainbrr.store.places import open_place

pytest.importorskip("obstore")
pytestmark = pytest.mark.slow
DATE = "Tue, 01 Dec 2026 00:00:00 GMT"


@contextlib.contextmanager
def cloud() -> Iterator[tuple[int, dict[str, bytes]]]:
    """Run a server of blobs in memory that speaks as much of both clouds' protocols as a push and a pull need."""
    blobs: dict[str, bytes] = {}
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            known = {"Content-Length": str(len(data)), "Last-Modified": DATE, "ETag": '"1"', **headers}
            for name, value in known.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            name = unquote(urlsplit(self.path).path)
            only_new = self.headers.get("If-None-Match") == "*" or self.headers.get("x-goog-if-generation-match") == "0"
            with lock:
                if only_new and name in blobs:
                    self.answer(409 if self.headers.get("If-None-Match") else 412)
                    return
                blobs[name] = data
            self.answer(201 if self.headers.get("x-ms-blob-type") else 200)

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            name, query = unquote(parts.path), parse_qs(parts.query)
            if "list-type" in query or "comp" in query:
                self.answer(200, listed(name, query), Content_Type="application/xml")
                return
            if name not in blobs:
                self.answer(404)
                return
            data, wanted = blobs[name], self.headers.get("Range") or self.headers.get("x-ms-range")
            if self.command == "HEAD" or wanted is None:
                self.answer(200, data)
                return
            first, last = (int(text) for text in wanted.removeprefix("bytes=").split("-"))
            part = data[first : last + 1]
            self.answer(206, part, Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(data)}")

        do_HEAD = do_GET  # noqa: N815  # http.server names it

    def listed(container: str, query: dict[str, list[str]]) -> bytes:
        below = f"{container.rstrip('/')}/"
        prefix = query.get("prefix", [""])[0]
        names = [name.removeprefix(below) for name in sorted(blobs) if name.startswith(below + prefix)]
        sizes = [(name, len(blobs[below + name])) for name in names]
        if "comp" in query:
            entries = "".join(
                f"<Blob><Name>{name}</Name><Properties><Last-Modified>{DATE}</Last-Modified><Etag>1</Etag>"
                f"<Content-Length>{n}</Content-Length><Content-Type>a/b</Content-Type></Properties></Blob>"
                for name, n in sizes
            )
            return f"<EnumerationResults><Blobs>{entries}</Blobs><NextMarker/></EnumerationResults>".encode()
        entries = "".join(
            f"<Contents><Key>{name}</Key><Size>{n}</Size><LastModified>2026-12-01T00:00:00.000Z</LastModified>"
            "<ETag>1</ETag></Contents>"
            for name, n in sizes
        )
        return f"<ListBucketResult>{entries}</ListBucketResult>".encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1], blobs
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_a_push_to_a_cloud_is_read_there_and_pulled_from_it(
    scheme: str, stored_at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{scheme}://bucket/eeg"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "host"))
    with cloud() as (port, blobs):
        account = {"gcs_base_url": f"http://127.0.0.1:{port}", "disable_oauth": True, "client_email": "nobody"}
        key = json.dumps({**account, "private_key": "", "private_key_id": ""})
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", key)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "laboratory")
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
        assert brainbrr.push(url, store=stored_at, profile="smoke").sent == 6
        assert sum(name.endswith("/c.0.0") for name in blobs) == 6
        there = brainbrr.view(url, profile="smoke", window=brainbrr.WindowSpec(2))
        near = brainbrr.view(stored_at, profile="smoke", window=brainbrr.WindowSpec(2))
        assert there.digest == near.digest and (there[3].signal == near[3].signal).all()
        assert brainbrr.pull(url, store=tmp_path / "own", profile="smoke").sent == 6
        assert brainbrr.verify(tmp_path / "own").corrupt == ()
        assert brainbrr.push(url, store=stored_at, profile="smoke").sent == 0


def test_a_cloud_without_its_account_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=r"cannot be opened: .*Account must be specified") as caught:
        open_place("az://container/eeg")
    assert "AZURE_STORAGE_ACCOUNT_NAME" in str(caught.value.fix)
    with pytest.raises(UsageError, match="neither user, password nor query"):
        open_place("az://account:key@container/eeg")
    with pytest.raises(UsageError, match="no remote has a URL that begins with abfs://"):
        places.check_url("abfs://container/eeg")
