"""Reading at a URL and pushing to a bucket, against zarr-python with obstore and `rclone copy`, on loopback, in turns.

python benchmarks/bench_share.py stream FOLDER   # a web server with 20 and 80 ms of latency in a process of its own
python benchmarks/bench_share.py push FOLDER     # a SeaweedFS
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.request import urlopen

import numpy as np
from measuring import Row

import brainbrr
from brainbrr.core.digest import sha256
from brainbrr.core.statistics import Statistics
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.store import tile_cache
from brainbrr.store.places import open_place
from brainbrr.store.store import Store
from brainbrr.views.view import View

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.s3 import BUCKET, KEYS, proxy, seaweed

IN_FLIGHT = 8
WINDOW = brainbrr.WindowSpec(60, stride_s=60)
BATCH = 8


# A web server with latency


def serve(folder: Path, latency_s: float) -> None:
    """Serve ranges of files after a wait; /asked answers how many requests came since it was last asked."""
    asked, lock = [0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/asked":
                with lock:
                    n, asked[0] = asked[0], 0
                self.answer(200, str(n).encode())
                return
            with lock:
                asked[0] += 1
            time.sleep(latency_s)
            path, wanted = folder / self.path.lstrip("/"), self.headers.get("Range")
            if not path.is_file():
                self.answer(404, b"")
            elif wanted is None:
                self.answer(200, path.read_bytes())
            else:
                size = path.stat().st_size
                low, high = wanted.removeprefix("bytes=").split("-")
                first, last = (int(low), min(int(high or size), size - 1)) if low else (size - int(high), size - 1)
                with path.open("rb") as file:
                    file.seek(first)
                    self.answer(206, file.read(last + 1 - first), f"bytes {first}-{last}/{size}")

        do_HEAD = do_GET  # noqa: N815  # http.server names it

        def answer(self, status: int, data: bytes, span: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Last-Modified", "Tue, 01 Dec 2026 00:00:00 GMT")
            if span:
                self.send_header("Content-Range", span)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextmanager
def web(folder: Path, latency_s: float) -> Iterator[str]:
    """Run such a server in a process of its own; yield its URL."""
    command = [sys.executable, __file__, "serve", str(folder), "--latency", str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def asked(url: str) -> int:
    with urlopen(f"{url}/asked") as answer:
        return int(answer.read())


# Streaming


def stream(folder: Path, recordings: int, rounds: int) -> None:
    """Print windows per second of each way, its requests, and the ratios."""
    www = folder / "www"
    if not (folder / "done").exists():
        write_corpus(folder / "demo", n_recordings=recordings, seed=0, seconds=(600, 630))
        brainbrr.ingest(folder / "demo", store=folder / "store")
        brainbrr.push(www, store=folder / "store")
        (folder / "done").touch()
    near = brainbrr.view(folder / "store", window=WINDOW)
    print("measure\tvalue\tgoal\treached\tdetail")
    for latency_ms in (20, 80):
        with web(www, latency_ms / 1000) as url:
            found: dict[str, list[float]] = {"bare": [], "zarr": [], "ours": [], "again": [], "local": []}
            requests = {}
            for turn in range(rounds):
                os.environ["XDG_CACHE_HOME"] = str(folder / f"cache-{latency_ms}-{turn}-{os.getpid()}")
                far = brainbrr.view(url, window=WINDOW)
                picks = random.Random(turn).sample(range(len(far)), len(far))
                asked(url)
                for name, read in (
                    ("bare", partial(bare, url, far, picks)),
                    ("zarr", zarr_reader(url, far, picks)),
                    ("ours", partial(epoch, far, turn)),
                    ("again", partial(epoch, far, turn + 100)),
                    ("local", partial(epoch, near, turn + 100)),
                ):
                    asked(url)
                    began = time.perf_counter()
                    read()
                    found[name].append(len(picks) / (time.perf_counter() - began))
                    requests[name] = asked(url) / len(picks)
            rates = {name: statistics.median(values) for name, values in found.items()}
            detail = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
            each = ", ".join(f"{name} {n:.2f}" for name, n in requests.items())
            of = f"{latency_ms} ms, {IN_FLIGHT} in flight; windows/s: {detail}"
            print(Row(f"streamed / zarr-python, {latency_ms} ms", rates["ours"] / rates["zarr"], "×", of, 2))
            print(Row(f"streamed / bare ranges, {latency_ms} ms", rates["ours"] / rates["bare"], "×", of, 0.8))
            print(Row(f"requests a window, {latency_ms} ms", requests["ours"], "", each, 1, at_most=True))
            print(Row(f"second epoch / local, {latency_ms} ms", rates["again"] / rates["local"], "×", of, 0.9))


def epoch(view: View, seed: int) -> None:
    with brainbrr.loader(view, batch=BATCH, epochs=1, seed=seed, as_numpy=True) as batches:
        for _ in batches:
            pass


def places_of(view: View, picks: Sequence[int]) -> list[tuple[str, int]]:
    recordings, starts = view.index.locate(np.array(picks))
    return [(view.recordings[i].content, start) for i, start in zip(recordings.tolist(), starts.tolist(), strict=True)]


def bare(url: str, view: View, picks: Sequence[int]) -> None:
    """Fetch the ranges of windows, and do nothing with them: what the link gives."""
    place, meta = open_place(url), view.recordings[0].record.array

    def fetch(at: tuple[str, int]) -> None:
        first = at[1] // meta.tile * meta.tile_bytes
        place.span(f"objects.zarr/{at[0][:2]}/{at[0]}/c.0.0", first, first + 6 * meta.tile_bytes)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(fetch, places_of(view, picks)))


def zarr_reader(url: str, view: View, picks: Sequence[int]) -> Callable[[], None]:
    """Return a reader of windows by zarr-python and obstore, to float32; its arrays are open already."""
    import zarr
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    places = places_of(view, picks)
    arrays = {}
    for content in {content for content, _ in places}:
        store = HTTPStore.from_url(f"{url}/objects.zarr/{content[:2]}/{content}", client_options={"allow_http": True})
        arrays[content] = zarr.open_array(ObjectStore(store, read_only=True), mode="r", zarr_format=3)

    def read(at: tuple[str, int]) -> None:
        np.asarray(arrays[at[0]][:, at[1] : at[1] + view.length]).astype(np.float32)

    def all_of() -> None:
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            list(pool.map(read, places))

    return all_of


# Push and pull


def many_objects(folder: Path, n: int, seconds: int) -> Store:
    """Return a store of n objects with a catalog: a generated recording, with another first sample in each."""
    if (folder / "done").exists():
        return Store.open(folder / "many")
    write_corpus(folder / "demo", n_recordings=6, seed=0, seconds=(seconds, seconds))
    brainbrr.ingest(folder / "demo", store=folder / "one")
    one, many = Store.open(folder / "one"), Store.create(folder / "many")
    catalog = one.catalog("demo")
    assert catalog is not None
    row = next(row for row in catalog.rows.values() if row.contents)
    record = next(each for each in one.records() if each.source == row.source)
    samples = one.reader(record.content, record.array).read(0, record.array.n_samples)
    present = [i for i, name in enumerate(record.array.channels) if name not in record.array.absent]
    rows = {}
    with mock.patch("os.fsync"):
        for i in range(n):
            samples[present[0], :2] = i // 200, i % 200
            sums = Statistics(len(samples), present)
            sums.update(samples)
            source = sha256(str(i).encode())
            put = many.put(
                samples,
                meta=record.array,
                source=source,
                recipe_fields=record.recipe_fields,
                statistics=sums.result(),
                signal=record.signal,
                provenance=record.provenance,
            )
            path = f"train/p{i:05d}/s001/{i:05d}.edf"
            contents = {record.recipe: put.record.content}
            changed = {"path": path, "source": source, "contents": contents, "patient": f"p{i:05d}", "split": "train"}
            rows[path] = row.model_copy(update=changed)
        many.publish("demo", lambda _: replace(catalog, rows=rows))
    (folder / "done").touch()
    return many


def push(folder: Path, n: int, seconds: int, rounds: int) -> None:
    """Print the throughput of push and pull over that of rclone, and the requests of a second push."""
    many = many_objects(folder, n, seconds)
    os.environ.update(KEYS)
    n_bytes = sum(each.stat().st_size for each in (folder / "many" / "objects.zarr").rglob("c.0.0"))
    found: dict[str, list[float]] = {"push": [], "rclone up": [], "pull": [], "rclone down": []}
    print("measure\tvalue\tgoal\treached\tdetail")
    weeds = folder / f"weed-{os.getpid()}"
    weeds.mkdir()
    with seaweed(weeds) as port:
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        for turn in range(rounds):
            os.environ["XDG_CACHE_HOME"] = str(weeds / f"cache-{turn}")
            there, here = f"s3://{BUCKET}/push-{turn}", weeds / f"pulled-{turn}"
            copied = weeds / f"copied-{turn}"
            for name, run in (
                ("push", lambda at=there: brainbrr.push(at, store=many)),
                ("rclone up", partial(rclone, port, str(many.location), f":s3:{BUCKET}/rclone-{turn}")),
                ("pull", lambda at=there, to=here: brainbrr.pull(at, store=to)),
                ("rclone down", partial(rclone, port, f":s3:{BUCKET}/rclone-{turn}", str(copied))),
            ):
                began = time.perf_counter()
                run()
                found[name].append(n_bytes / 1e6 / (time.perf_counter() - began))
                print(f"{name}: {found[name][-1]:.1f} MB/s", file=sys.stderr, flush=True)
        with proxy(port) as seen:
            os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{seen.port}"
            brainbrr.push(f"s3://{BUCKET}/push-0", store=many)
            sent, requests = seen.bodies("PUT"), len(seen.seen)
    rates = {name: statistics.median(values) for name, values in found.items()}
    of = f"{n} objects, {n_bytes / 1e6:.0f} MB; MB/s: {', '.join(f'{a} {b:.1f}' for a, b in rates.items())}"
    print(Row("push / rclone copy", rates["push"] / rates["rclone up"], "×", of, 0.8))
    print(Row("pull / rclone copy", rates["pull"] / rates["rclone down"], "×", of, 0.8))
    print(Row("second push, requests per 500 objects", requests / n * 500, "", f"{requests}; {sent} B sent", 1, True))


def rclone(port: int, source: str, target: str) -> None:
    """Copy with rclone as one would, with as many transfers as ours has threads."""
    flags = ["--s3-provider=SeaweedFS", f"--s3-endpoint=http://127.0.0.1:{port}", "--s3-env-auth", "--transfers=24"]
    program = Path(sys.executable).with_name("rclone")
    subprocess.run([str(program), "copy", source, target, *flags, "--checkers=24", "-q"], check=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stream", "push", "serve"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recordings", type=int, default=24)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.02)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "serve":
        serve(given.folder, given.latency)
    elif given.what == "stream":
        with mock.patch.object(tile_cache, "IN_FLIGHT", IN_FLIGHT):
            stream(given.folder, given.recordings, given.rounds)
    else:
        push(given.folder, given.objects, given.seconds, given.rounds)


if __name__ == "__main__":
    main()
