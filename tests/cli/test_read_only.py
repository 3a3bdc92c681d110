"""Readers need no permission to write: every reading command works for somebody else, and on a read-only mount."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from helpers.support import TINY, Person

import brainbrr
from brainbrr.eeg.synthetic.corpus import write_corpus

pytestmark = pytest.mark.slow

# all in one process, since each would load everything anew
SCRIPT = """
import json, sys
from pathlib import Path
import brainbrr
from brainbrr.cli.main import main

store, corpus, runs, config = sys.argv[1:]

def run(*words):
    sys.argv = ["brainbrr", *words, "--store", store]
    try:
        main()
    except SystemExit as ended:
        told[" ".join(words[:2])] = ended.code

told = {}
recording = next(Path(corpus).rglob("*.edf")).stem
run("status")
run("view")
run("view", "--split", "train", "--out", "view.json")
run("verify")
run("verify", "--quick")
run("check", "--require", "no-duplicates,complete,verified")
run("why", recording)
run("bench", "--seconds", "0.1", "--split", "train")
run("ingest", corpus, "--dry-run")
run("train", "--config", config, "--runs", runs)
run("evaluate", *map(str, Path(runs).iterdir()))
with brainbrr.loader(brainbrr.view(store), batch=4) as batches:
    told["loader"] = int(len(next(iter(batches))[0]) != 4)
run("ingest", corpus, "--workers", "1")  # everything is there already
Path("told.json").write_text(json.dumps(told))
"""


def listing(store: Path) -> dict[str, tuple[int, ...]]:
    facts = {str(path): path.lstat() for path in (store, *store.rglob("*"))}
    return {p: (s.st_mode, s.st_ino, s.st_size, s.st_nlink, s.st_mtime_ns, s.st_ctime_ns) for p, s in facts.items()}


@pytest.mark.parametrize("how", ["somebody else", "read-only mount"])
def test_whoever_reads_needs_no_right_to_write_and_changes_nothing(
    commons: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(commons / "host"))
    corpus, store, config = commons / "demo", commons / "store", commons / "tiny.toml"
    write_corpus(corpus, n_recordings=12, seed=0, seconds=(20, 24))
    brainbrr.ingest(corpus, store=store, workers=1)
    config.write_text(TINY)
    mount = f'mount --bind {store} {store} && mount -o remount,ro,bind {store} && exec "$@"'
    before = () if how == "somebody else" else ("unshare", "-m", "sh", "-c", mount, "sh")
    if before and subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    reader = Person(60_001 if how == "somebody else" else 0, (), commons)
    untouched = listing(store)
    home = commons / str(reader.uid)
    told = reader.run("-c", SCRIPT, store, corpus, home / "runs", config, before=before)
    assert told.code == 0, told.err
    codes = json.loads((home / "told.json").read_bytes())
    assert len(codes) == 12
    assert {words: code for words, code in codes.items() if code} == {}, told.err
    assert listing(store) == untouched

    write_corpus(commons / "more", n_recordings=6, seed=1, seconds=(20, 24))
    refused = reader.run("ingest", commons / "more", "--store", store, "--workers", 1, before=before)
    assert refused.code == 2 and "the store cannot be written" in refused.err
    assert listing(store) == untouched
