"""push and pull: what is missing travels, verified, in an order in which no reader sees a part of anything."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from helpers.s3 import Proxy, site

from brainbrr.core import models
from brainbrr.core.digest import SourceHasher, sha256
from brainbrr.core.progress import Silent
from brainbrr.core.statcache import Host
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError, FormatError, IntegrityError, UsageError
from brainbrr.loading.windows import WindowSpec
from brainbrr.profiles import Profile, load_profiles
from brainbrr.settings import configs
from brainbrr.share import transfer
from brainbrr.share.transfer import Chosen, TransferReport
from brainbrr.store import remotes, send
from brainbrr.store.opening import normal, open_store
from brainbrr.store.places import RemoteError, open_place
from brainbrr.store.remote import RemoteStore, create_remote, open_remote
from brainbrr.store.remotes import Remote
from brainbrr.store.store import Store
from brainbrr.store.verify import verify
from brainbrr.views.report import ViewRequest
from brainbrr.views.report import view as view_of

pytestmark = pytest.mark.slow


def profile(name: str) -> Profile:
    return load_profiles(configs() / "profiles.toml", corpus=None)[name]


def chosen(name: str = "full", **where: str) -> Chosen:
    from brainbrr.views.select import Selection

    return Chosen(ViewRequest(profile(name), Recipe(), WindowSpec(), selection=Selection(where=tuple(where.items()))))


def push(store: Store, url: str, host: Host, what: Chosen | None = None, **options: bool) -> TransferReport:
    remote = Remote(name="r", url=normal(url))
    return transfer.push(store, remote, what or chosen(), host=host, progress=Silent(), **options)


def pull(store: Store, url: str, host: Host, what: Chosen | None = None) -> TransferReport:
    remote = Remote(name="r", url=normal(url))
    return transfer.pull(store, remote, open_store(url, host), what or chosen(), progress=Silent())


def digest_of(store: Store, what: Chosen | None = None) -> str | None:
    return view_of(store, (what or chosen()).request, location=store.location).view.digest


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_what_was_pushed_is_pulled_as_the_same_view(
    where: str, stored: Store, tmp_path: Path, host: Host, request: pytest.FixtureRequest
) -> None:
    if where == "bucket":
        request.getfixturevalue("s3")
    url = request.getfixturevalue("bucket") if where == "bucket" else str(tmp_path / "lab")
    assert push(stored, url, host).sent == 18
    own = Store.create(tmp_path / "own")
    report = pull(own, url, host)
    assert (report.sent, report.failed, report.missing) == (18, (), ())
    assert digest_of(own) == digest_of(stored) is not None
    assert verify(own).corrupt == ()
    assert pull(own, url, host).sent == 0


def test_a_larger_selection_moves_exactly_the_difference(
    stored: Store, s3: Proxy, bucket: str, tmp_path: Path, host: Host
) -> None:
    push(stored, bucket, host)
    small, own = chosen(path="*s001*"), Store.create(tmp_path / "own")
    first = pull(own, bucket, host, small)
    assert 0 < first.sent < 18
    s3.seen.clear()
    second = pull(own, bucket, host)
    assert first.sent + second.sent == 18
    missing = {record.content for record in stored.records()} - {
        each.content for each in view_of(own, small.request, location=own.location).view.recordings
    }
    fetched = s3.bodies("GET", "/c.0.0")
    assert fetched == sum(stored.object_bytes(c) - len(zarr_json(stored, c)) for c in missing)


def zarr_json(store: Store, content: str) -> bytes:
    return (store.path_of("object", content) / "zarr.json").read_bytes()


def test_a_second_push_of_a_view_sends_no_object_and_asks_four_times_at_most(
    stored: Store, s3: Proxy, bucket: str, host: Host
) -> None:
    push(stored, bucket, host)
    open_remote(open_place(bucket), host.folder / "remotes").catalog("demo")
    s3.seen.clear()
    push(stored, bucket, host)
    assert not s3.bodies("PUT")
    assert len(s3.seen) <= 4, s3.seen


def test_no_record_is_put_before_its_object_and_the_view_comes_last(
    stored: Store, s3: Proxy, bucket: str, host: Host
) -> None:
    push(stored, bucket, host)
    order = [path for method, path, _ in s3.seen if method == "PUT"]
    for record in stored.records():
        at = [
            next(i for i, path in enumerate(order) if part in path)
            for part in (f"{record.content}/c.0.0", f"{record.content}/zarr.json", f"/{record.key}.json")
        ]
        assert at == sorted(at)
    names = ["records/", "00000001.jsonl", "00000001.ack.json", "views/", "index.json"]
    assert [max(i for i, path in enumerate(order) if name in path) for name in names] == sorted(
        max(i for i, path in enumerate(order) if name in path) for name in names
    )


def test_pushing_parts_from_two_stores_fills_one_bucket(
    stored: Store, s3: Proxy, bucket: str, tmp_path: Path, host: Host
) -> None:
    push(stored, bucket, host, chosen(split="train"))
    push(stored, bucket, Host(tmp_path / "other"), chosen(split="dev"))
    push(stored, bucket, host, chosen(split="eval"))
    own = Store.create(tmp_path / "own")
    pull(own, bucket, host)
    assert digest_of(own) == digest_of(stored)


def test_a_row_that_differs_stays_the_remotes_unless_replaced(stored: Store, tmp_path: Path, host: Host) -> None:
    lab, own = str(tmp_path / "lab"), Store.create(tmp_path / "own")
    push(stored, lab, host)
    pull(own, lab, host)
    path, row = next(iter(own.catalog("demo").rows.items()))  # type: ignore[union-attr]
    relabelled = row.model_copy(update={"labels": sha256(b"other")})
    own.publish("demo", lambda latest: dataclasses.replace(latest, rows={**latest.rows, path: relabelled}))
    report = push(own, lab, host)
    assert report.differing == (path,)
    assert Store.open(tmp_path / "lab").catalog("demo").rows[path].labels == row.labels  # type: ignore[union-attr]
    assert push(own, lab, host, replace=True).differing == (path,)
    assert Store.open(tmp_path / "lab").catalog("demo").rows[path].labels == relabelled.labels  # type: ignore[union-attr]
    other = Store.create(tmp_path / "other")
    pull(other, lab, host)
    assert other.catalog("demo").rows[path].labels == relabelled.labels  # type: ignore[union-attr]


def test_a_frozen_view_travels_by_its_digest(stored: Store, tmp_path: Path, host: Host) -> None:
    lab, own = str(tmp_path / "lab"), Store.create(tmp_path / "own")
    digest = push(stored, lab, host).digest
    assert digest is not None
    assert pull(own, lab, host, dataclasses.replace(chosen(), digest=digest[:12])).sent == 18
    assert own.frozen(digest) is not None


def test_stores_of_two_codecs_exchange_their_objects(
    stored: Store, s3: Proxy, bucket: str, tmp_path: Path, host: Host
) -> None:
    packed = Store.create(tmp_path / "packed", codec="zstd")
    push(stored, str(tmp_path / "packed"), host)
    push(packed, bucket, host)
    own = Store.create(tmp_path / "own")
    pull(own, bucket, host)
    assert open_remote(open_place(bucket), host.folder / "remotes").codec == "zstd"
    assert own.codec == "none" and verify(own).corrupt == ()
    assert digest_of(own) == digest_of(stored)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_large_object_is_sent_in_parts_and_is_never_whole_in_memory(
    codec: Literal["none", "zstd"], stored: Store, s3: Proxy, bucket: str, tmp_path: Path, host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    create_remote(open_place(bucket), host.folder / "remotes", codec=codec)
    monkeypatch.setattr(send, "_IN_MEMORY", 1000)
    small = chosen("smoke", path="*s001*")
    report = push(stored, bucket, host, small)
    assert report.sent > 0 and report.failed == ()
    assert sum("uploadId=" in path for method, path, _ in s3.seen if method == "PUT") >= report.sent
    own = Store.create(tmp_path / "own")
    assert pull(own, bucket, host, small).sent == report.sent and verify(own).corrupt == ()


def test_a_shard_that_changes_while_it_is_sent_gets_no_record(
    stored: Store, s3: Proxy, bucket: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "_IN_MEMORY", 1000)
    real, seen = SourceHasher.hexdigest, iter(range(1_000_000))
    monkeypatch.setattr(SourceHasher, "hexdigest", lambda self: f"{next(seen)}" + real(self))
    report = push(stored, bucket, host, chosen("smoke", path="*s001*"))
    assert report.exit_code == 4 and report.sent == 0
    assert list(open_remote(open_place(bucket), host.folder / "remotes").keys()) == []


@pytest.fixture
def published(stored: Store, tmp_path: Path, host: Host) -> Iterator[tuple[Path, str]]:
    """A store in a folder that a web site serves, and its URL."""
    push(stored, str(tmp_path / "www"), host)
    with site(tmp_path / "www") as url:
        yield tmp_path / "www", url


def test_a_static_site_is_pulled_from_and_not_pushed_to(
    published: tuple[Path, str], stored: Store, tmp_path: Path, host: Host
) -> None:
    own = Store.create(tmp_path / "own")
    assert pull(own, published[1], host).sent == 18
    assert digest_of(own) == digest_of(stored) and verify(own).corrupt == ()
    with pytest.raises(UsageError, match="read-only"):
        push(stored, published[1], host, replace=True)


def rewritten(path: Path, **changes: object) -> None:
    fields = {**models.from_checksummed(path.read_bytes(), where=path), **changes}
    path.chmod(0o644)
    path.write_bytes(models.to_checksummed(fields))


@pytest.mark.parametrize("how", ["folder", "site"])
@pytest.mark.parametrize(
    "lie", ["statistics", "checks", "other samples", "shape", "huge", "link", "no object", "short shard", "long record"]
)
def test_what_a_malicious_remote_serves_is_refused_and_leaves_nothing(
    lie: str, how: str, published: tuple[Path, str], tmp_path: Path, host: Host
) -> None:
    folder, url = published
    there = Store.open(folder)
    first, second = list(there.records())[:2]
    path, shard = there.path_of("record", first.key), there.path_of("object", first.content) / "c.0.0"
    shard.chmod(0o644)
    if lie == "statistics":
        rewritten(path, statistics={**first.statistics, "sums": [n + 1 for n in first.statistics["sums"]]})
    elif lie == "checks":
        rewritten(path, checks="00000000" * first.array.n_tiles)
    elif lie == "other samples":
        rewritten(path, content=second.content, array=second.array.attributes())
        os.replace(there.path_of("object", second.content) / "c.0.0", shard)
    elif lie in ("shape", "huge"):
        samples = first.array.n_samples + 2560 if lie == "shape" else 1 << 40
        array = {**first.array.attributes(), "shape": [19, samples]}
        rewritten(path, array=array, checks="")
    elif lie == "link":
        secret = tmp_path / "secret"
        secret.write_bytes(shard.read_bytes())
        shard.unlink()
        shard.symlink_to(secret)
        if how == "site":
            pytest.skip("a site's own links are its own affair")
    elif lie == "no object":
        shard.unlink()
    elif lie == "short shard":
        shard.write_bytes(shard.read_bytes()[:-5000])
    else:
        path.chmod(0o644)
        path.write_bytes(b"{" + b" " * (1 << 24) + b"}")
    own = Store.create(tmp_path / "own")
    try:
        report = pull(own, str(folder) if how == "folder" else url, host)
        assert report.exit_code in (3, 4)
        refused = {each.recording for each in report.failed} | set(report.missing)
        assert refused
    except BrainbrrError as error:
        assert error.exit_code in (4, 7), error
    assert verify(own).corrupt == ()
    assert own.record(first.key) is None
    assert not list((own.location / "tmp").iterdir())


def test_an_index_cannot_lead_out_of_the_mirror(published: tuple[Path, str], tmp_path: Path, host: Host) -> None:
    folder, url = published
    names = ["catalog/../../evil.jsonl", "/etc/passwd", "catalog/demo/../../x.ack.json", "catalog/x/y/z", "views/../q"]
    index = folder / "index.json"
    known = json.loads(index.read_bytes())["names"]
    index.write_bytes(json.dumps({"names": [*known, *names]}).encode())
    remote = open_remote(open_place(url), host.folder / "remotes")
    assert remote.corpora() == ("demo",)
    assert remote.catalog("demo") is not None
    outside = {path.name for path in host.folder.rglob("*")} | {path.name for path in tmp_path.iterdir()}
    assert not outside & {"evil.jsonl", "passwd", "x.ack.json", "q"}


def test_a_catalog_that_names_paths_outside_its_corpus_is_refused(
    published: tuple[Path, str], tmp_path: Path, host: Host
) -> None:
    folder, url = published
    generation = folder / "catalog/demo/00000001.jsonl"
    generation.chmod(0o644)
    lines = generation.read_bytes().splitlines()[:-1]
    lines[1] = lines[1].replace(b'"path":"', b'"path":"../')
    text = b"\n".join(lines) + b"\n"
    generation.write_bytes(text + b'{"sha256":"' + sha256(text).encode() + b'"}\n')
    with pytest.raises(IntegrityError, match="leaves its corpus"):
        pull(Store.create(tmp_path / "own"), url, host)


def test_a_remote_of_an_unknown_codec_or_format_is_refused_by_name(
    published: tuple[Path, str], tmp_path: Path, host: Host
) -> None:
    folder, url = published
    mark = folder / "format.json"
    mark.chmod(0o644)
    mark.write_bytes(b'{"codec":"pickle","format":2,"kind":"brainbrr store"}')
    with pytest.raises(FormatError, match="pickle"):
        pull(Store.create(tmp_path / "own"), url, host)
    mark.write_bytes(b" " * 5000)
    with pytest.raises(IntegrityError, match="more than"):
        pull(Store.create(tmp_path / "own"), url, host)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("s3://key:secret@bucket/x", "neither user"),
        ("https://host/x?X-Amz-Signature=1", "neither user"),
        ("ftp://host/x", "no remote has a URL"),
        ("s3://bucket/../x", "names no place"),
        ("s3:/key:secret@bucket/x", "a URL begins with s3://"),
    ],
)
def test_a_url_with_credentials_or_of_an_unknown_kind_is_refused_and_not_shown(
    url: str, what: str, tmp_path: Path
) -> None:
    store = Store.create(tmp_path / "own")
    with pytest.raises(UsageError, match=what) as caught:
        remotes.add(store, "cloud", url)
    assert "secret" not in str(caught.value) and "Signature" not in str(caught.value)
    assert remotes.remotes_of(store) == ()


def test_remotes_are_kept_in_order_with_who_declared_them_private(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "own")
    remotes.add(store, "lab", str(tmp_path / "lab"))
    remotes.add(store, "cloud", "s3://bucket/eeg", private=True)
    assert [each.name for each in remotes.remotes_of(store)] == ["lab", "cloud"]
    assert remotes.find(store, "cloud").private and "@" in remotes.find(store, "cloud").private_by
    with pytest.raises(UsageError, match="is s3"):
        remotes.add(store, "cloud", "s3://elsewhere/eeg")
    remotes.remove(store, "cloud")
    assert [each.name for each in remotes.remotes_of(store)] == ["lab"]
    assert verify(store).corrupt == ()


def test_a_denied_or_absent_remote_says_so(s3: Proxy, bucket: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no store at this remote"):
        open_remote(open_place(bucket), host.folder / "remotes")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-one")
    with pytest.raises(UsageError, match="denied") as caught:
        open_remote(open_place(bucket), host.folder / "remotes")
    assert "wrong-one" not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RemoteError, match="does not answer"):
        open_remote(open_place(bucket), host.folder / "remotes")


def test_a_remote_store_is_read_only_but_for_a_push(stored: Store, s3: Proxy, bucket: str, host: Host) -> None:
    push(stored, bucket, host)
    remote = open_remote(open_place(bucket), host.folder / "remotes")
    assert isinstance(remote, RemoteStore) and remote.corpora() == ("demo",)
    assert sorted(remote.keys()) == sorted(stored.keys())
    with pytest.raises(UsageError, match="only read"):
        remote.quarantine("record", "0" * 32)
