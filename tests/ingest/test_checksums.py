"""EDF files against what their publisher says of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from helpers.edf_bytes import File, noise

import brainbrr
from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.errors import ConfigError
from brainbrr.ingest.checksums import annex_key, read_checksums


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for n, name in enumerate(("a", "b")):
        folder = tmp_path / "corpus" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.edf").write_bytes(File([noise(each, seed=n) for each in TEN_TWENTY]).bytes())
    return tmp_path / "corpus"


def listing(root: Path, **changes: str) -> Path:
    """A list as PhysioNet publishes it."""
    digests = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*.edf"))}
    lines = [f"{digest}  {name}/{name}.edf" for name, digest in {**digests, **changes}.items() if digest]
    (root / "SHA256SUMS.txt").write_text("\n".join([*lines, f"{'0' * 64}  RECORDS"]) + "\n")
    return root / "SHA256SUMS.txt"


def ingest(root: Path, **options: object) -> brainbrr.IngestReport:
    return brainbrr.ingest(root, store=root.parent / "store", labels="none", **options)  # type: ignore[arg-type]


def test_files_that_are_as_published_are_stored(root: Path) -> None:
    assert (ingest(root, checksums=listing(root)).new, ingest(root, checksums=listing(root)).reused) == (2, 2)


def test_a_file_that_differs_is_refused_also_where_it_is_stored_already(root: Path) -> None:
    ingest(root)
    [failed] = ingest(root, checksums=listing(root, b="f" * 64)).failed
    assert failed.recording == "b/b.edf" and failed.reason.startswith(f"its publisher's SHA-256 is {'f' * 12}, and its")


def test_a_file_that_the_list_does_not_name_is_refused(root: Path) -> None:
    [failed] = ingest(root, checksums=listing(root, a="")).failed
    assert failed.recording == "a/a.edf" and "does not name it" in failed.reason


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "names no file"),
        ("abc  a.edf\n", "line 1 is no checksum"),
        (f"{'a' * 64}  a.edf\n{'b' * 64}  ./a.edf\n", "another checksum than before"),
    ],
)
def test_a_list_that_cannot_be_believed_is_refused(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS.txt").write_text(text)
    with pytest.raises(ConfigError, match=what):
        read_checksums(tmp_path / "SHA256SUMS.txt")


def test_a_git_annex_link_is_compared_with_its_key(root: Path) -> None:
    edf = root / "a" / "a.edf"
    digest = hashlib.sha256(edf.read_bytes()).hexdigest()
    for named, refused in ((digest, 0), ("f" * 64, 1)):
        annexed = root / ".git" / "annex" / "objects" / f"SHA256E-s{edf.stat().st_size}--{named}.edf"
        annexed.parent.mkdir(parents=True, exist_ok=True)
        annexed.write_bytes(edf.read_bytes())
        edf.unlink()
        edf.symlink_to(annexed)
        assert annex_key(edf) == named
        failed = ingest(root).failed
        assert len(failed) == refused
        assert all("git-annex key" in each.reason for each in failed)
    assert annex_key(root / "b" / "b.edf") is None
