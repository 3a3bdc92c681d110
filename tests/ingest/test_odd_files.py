"""Files that a corpus's author placed with intent: names that break a table, and labels that lead elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from helpers.support import Cli

from brainbrr.store.store import Store

SECRET = "the secret of somebody else"


@pytest.mark.parametrize("name", ["a\nb.edf", "\x1b[2J.edf", os.fsdecode(b"b\xff.edf")])
def test_an_odd_name_costs_its_own_recording_only(cli: Cli, corpus: Path, tmp_path: Path, name: str) -> None:
    edf = sorted(corpus.rglob("*.edf"))[0]
    shutil.copy(edf, edf.with_name(name))
    for _ in range(2):  # again: the catalog that holds it is read
        told = cli("ingest", corpus, "--workers", 1, "--json")
        assert told.code == 1 and told.json["new"] + told.json["reused"] == 18
        (failure,) = told.json["failed"]
        assert failure["reason"].startswith("a file name ") and failure["recording"].isprintable()
    assert cli("ingest", corpus, "--workers", 1, "--accept", "refused").code == 0
    assert cli("verify").code == 0 and cli("status").code == 0
    edf.with_name(name).unlink()
    assert cli("ingest", corpus, "--workers", 1).code == 0
    catalog = Store.open(tmp_path / "store").catalog("demo")
    assert catalog is not None and len(catalog.rows) == 18


def test_labels_behind_a_link_out_of_the_corpus_are_not_quoted(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    label = sorted(corpus.rglob("*.csv_bi"))[0]
    label.unlink()
    label.symlink_to(tmp_path / "secret")
    told = cli("ingest", corpus, "--workers", 1, "--json")
    (failure,) = told.json["failed"]
    assert "link out of the corpus" in failure["reason"] and told.json["new"] == 17
    assert SECRET not in told.out + told.err
    for path in (path for path in tmp_path.rglob("*") if path.is_file() and path != tmp_path / "secret"):
        assert path.is_symlink() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("annex", ["demo/.git/annex/objects", ".git/annex/objects", "demo/labels"])
def test_links_to_the_annex_and_inside_the_corpus_stay_legal(
    cli: Cli, corpus: Path, tmp_path: Path, annex: str
) -> None:
    (tmp_path / annex).mkdir(parents=True)
    for path in [*sorted(corpus.rglob("*.csv_bi"))[:2], *sorted(corpus.rglob("*.edf"))[:2]]:
        kept = tmp_path / annex / f"MD5-{path.name}.part"
        path.rename(kept)
        path.symlink_to(kept)
    told = cli("ingest", corpus, "--workers", 1, "--json")
    assert (told.code, told.json["new"]) == (0, 18), told.json["failed"]
