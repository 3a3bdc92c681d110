"""What the command line and the Python API give, frozen as JSON: contents, keys, digests, loader bits, every --json.

Uses `python -m brainbrr`, the public names of `brainbrr` and the store's files, so that modules may move freely.
Run it to compare, with --write to freeze anew. Values that hold on one machine or in one wording only begin with "~":
their kind is always compared, the rest only with --strict.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import runpy
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent

ARGV = {
    # {data}: the real recordings; {tmp}: a folder of this run's own; the store is {tmp}/store
    "init": "init",
    "dry run": "ingest {data}/tusz_like --corpus like --workers 1 --dry-run",
    "plan": "ingest {data}/tusz_like --corpus like --workers 1 --dry-run",
    "ingest like, smoke": "ingest {data}/tusz_like --corpus like --workers 1 --profile smoke",
    "ingest like": "ingest {data}/tusz_like --corpus like --workers 1",
    "ingest like, upstream": "ingest {data}/tusz_like --corpus like --workers 1 --recipe upstream",
    "ingest like, own recipe": "ingest {data}/tusz_like --corpus like --workers 1 --recipe {tmp}/own.toml",
    "ingest like, rehash": "ingest {data}/tusz_like --corpus like --workers 1 --rehash",
    "plan, stored": "ingest {data}/tusz_like --corpus like --workers 1 --profile dev --dry-run",
    "ingest layout": "ingest {data}/tusz_layout --corpus layout --workers 1 --accept label-length",
    "ingest siena": "ingest {data}/other_corpora_layout/siena --corpus siena --workers 1 --labels none",
    "status": "status",
    "view": "view --corpus like --out {tmp}/view.json --index {tmp}/index.npz",
    "view, smoke": "view --corpus layout --profile smoke --split train",
    "view, config": "view --corpus like --config smoke --split train",
    "view, patients": "view --corpus like --patients zzzzltma,zzzzrest",
    "view, where": "view --corpus layout --where split=dev",
    "view, exclude": "view --corpus like --exclude {tmp}/exclude.txt",
    "view, quality": "view --corpus like --min-quality 60",
    "view, no labels": "view --corpus siena",
    "view, not ready": "view --corpus layout --recipe upstream",
    "verify": "verify",
    "verify, checksums": "verify --checksums",
    "verify, quick": "verify --quick",
    "verify, remembered": "verify --max-age 7d",
    "check": "check",
    "check, profile": "check --profile dev --corpus like",
    "why": "why {recording} --corpus like",
    "why, changed": "why {recording} --corpus like --set notch_hz=50",
    "why, key": "why {key}",
    "why, unknown": "why nothing-of-this-name --corpus like",
    "pin": "pin {tmp}/view.json",
    "pin, list": "pin --list",
    "pin, remove": "pin {tmp}/view.json --remove",
    "recipe list": "recipe list",
    "recipe retire": "recipe retire upstream",
    "recipe restore": "recipe restore upstream",
    "gc": "gc",
    "gc, yes": "gc --yes --grace 0s",
    "forget": "forget siena",
    "forget, yes": "forget siena --yes",
    "bench": "bench --corpus like --batch 2 --seconds 0.1",
    "recompress": "recompress --to {tmp}/zstd --codec zstd",
    "repair": "repair --workers 1",
    "repair, from": "repair --workers 1 --from {tmp}/zstd",
    "plan odd": "ingest {data}/odd --corpus odd --workers 1 --dry-run",
    "ingest odd": "ingest {data}/odd --corpus odd --workers 1",
    "ingest odd, no labels": "ingest {data}/odd --corpus odd --workers 1 --labels none",
    "ingest odd, accepted": "ingest {data}/odd --corpus odd --workers 1 --labels none --accept refused,truncated",
    "ingest edf": "ingest {data}/edf --corpus edf --workers 1 --labels none",
    "ingest chb": "ingest {data}/other_corpora_layout/chbmit --corpus chb --workers 1 --recipe chb-mit --labels none",
    "ingest seizeit": "ingest {data}/other_corpora_layout/seizeit --corpus seizeit --workers 1",
    "view odd": "view --corpus odd",
    "view edf": "view --corpus edf --min-quality 0",
    "check odd": "check --corpus odd",
    "score": "score {data}/scores/nedc_v6.0.0/ref {data}/scores/nedc_v6.0.0/hyp --per-recording",
    "score, same": "score {data}/scores/nedc_v6.0.0/ref {data}/scores/nedc_v6.0.0/ref --resamples 100 --seed 7",
    "ingest made": "ingest {tmp}/made --workers 1",
    "view made": "view --config {tmp}/tiny.toml",
    "train": "train --config {tmp}/tiny.toml --name first",
    "train, resumed": "train --resume first",
    "train, init": "train --config {tmp}/tiny.toml --init first --set train.steps=1 --name second",
    "evaluate": "evaluate first",
    "evaluate, dev": "evaluate first --split dev --tune none",
    "evaluate, leak": "evaluate first --split train",
    "predict": "predict first {tmp}/made/edf/eval -o {tmp}/events",
    "runs": "runs",
    "runs, two": "runs first second",
}

WINDOWS: dict[str, dict[str, Any]] = {
    "10 s": {"length_s": "10", "stride_s": "5"},
    "padded, robust": {"length_s": "20", "stride_s": "20", "tail": "pad", "normalise": "robust", "clip": "20"},
    "fixed, three channels, no tail": {
        "length_s": "4", "stride_s": "30", "normalise": "fixed", "scale_uv": "50", "channels": ("C3", "Cz", "C4"),
    },
    "shifted, µV, average": {
        "length_s": "7.5", "stride_s": "7.5", "tail": "shift", "normalise": "none", "reference": "average",
    },
}  # fmt: skip

LOADERS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32, resident, in order": {"mode": "resident", "shuffle": "none"},
    "float16, type": {"dtype": "float16", "labels": "type", "shuffle": "block", "run": 4, "pool": 16},
    "bfloat16, per channel": {"dtype": "bfloat16", "labels": "per-channel", "per": "window"},
    "int16, none": {"dtype": "int16", "labels": "none"},
    "int16, resident, rank 1 of 2": {"dtype": "int16", "mode": "resident", "rank": 1, "world": 2},
    "balanced, a window's label": {"balance": "balanced", "per": "window", "seed": 3},
    "augmented": {
        "augment": {"drop_channel": 0.2, "shuffle_channels": 0.2, "polarity": True, "mirror": 0.5, "shift_s": 1}
    },
}

TINY = """name = "tiny"
profile = "full"
[window]
length_s = "4"
stride_s = "2"
[model]
d_model = 16
n_blocks = 1
d_state = 4
headdim = 8
stem = [8, 8]
stem_width = 4
[train]
steps = 2
batch = 4
lr = 0.003
checkpoint_every = 1
device = "cpu"
"""

TEXTS = {
    "advice", "bound", "executor", "fix", "how", "intervals_by", "latency_scorer", "leave_out", "mend", "next",
    "origin", "out_of_reach", "rate_scorer", "reason", "scorer", "step_scorer", "threshold_from", "what",
}  # fmt: skip
"""Fields of free text: `~text` and a digest."""

VARYING = {
    "brainbrr", "by", "bytes_free", "created", "group", "inodes_free", "machine", "mode", "numpy", "parent", "python",
    "scipy", "seconds", "seconds_estimate", "sha256", "sha256_of", "unproven", "windows_per_second",
}  # fmt: skip
"""Fields that depend on the machine or the hour, as a checksum of what holds a time does: their type alone."""

SIZES = {"bytes", "bytes_after", "bytes_before", "bytes_needed", "bytes_written", "n_bytes", "ratio"}
"""Fields that count bytes of records, which name the versions of libraries: soft."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def soft(kind: str, value: object = "") -> str:
    return f"~{kind} {value}".rstrip()


def digest(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(data).hexdigest()[:32]


class Freezer:
    """Runs commands in a folder of its own, and keeps what they gave."""

    def __init__(self, data: Path, tmp: Path) -> None:
        self.data, self.tmp, self.store = data, tmp, tmp / "store"
        self.found: dict[str, Any] = {}
        self.words: dict[str, object] = {"data": data, "tmp": tmp}

    def run(self, *labels: str, keep: Callable[[Any], Any] | None = None, after: str = "") -> None:
        """Run commands of ARGV and keep the exit code and JSON of each; `after` distinguishes a second run."""
        for label in labels:
            code, fields = self._run([each.format(**self.words) for each in shlex.split(ARGV[label])])
            self.found[f"{label}, after {after}" if after else label] = {
                "exit": code,
                "json": (keep or self.plain)(fields),
            }

    def _run(self, argv: list[str]) -> tuple[int, Any]:
        out, before = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), sys.argv
        sys.argv = ["brainbrr", *argv, "--json"]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
                runpy.run_module("brainbrr", run_name="__main__", alter_sys=True)
            code: object = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.argv = before
        out.flush()
        text = out.buffer.getvalue().decode()  # type: ignore[attr-defined]
        try:
            return int(str(code)), json.loads(text)
        except ValueError:
            raise SystemExit(
                f"{shlex.join(argv)} ended with {code} and printed no JSON: {text}{err.getvalue()}"
            ) from None

    def plain(self, value: Any, *, name: str = "") -> Any:
        """Return a value without what differs from run to run."""
        if name in VARYING and value is not None and not isinstance(value, dict):
            return soft(type(value).__name__)
        if name in TEXTS and value is not None:
            return soft("text", digest(self._scrubbed(json.dumps(value)))[:8])
        if isinstance(value, dict):
            return {
                self._scrubbed(key): self.plain(each, name=name if name in SIZES else key)
                for key, each in value.items()
            }
        if name in SIZES and value is not None:
            return soft(type(value).__name__, value)
        if isinstance(value, list):
            return [self.plain(each) for each in value]
        if isinstance(value, float):
            return float(f"{value:.12g}")
        return self._scrubbed(value) if isinstance(value, str) else value

    def learned(self, value: Any) -> Any:
        """Return a value where what a training computed is soft: its last bits are the machine's."""
        return _softened(self.plain(value))

    def fields(self, value: Any) -> Any:
        """Return the names and types alone; of a list those of its members, each once."""
        if isinstance(value, dict):
            return {key: self.fields(each) for key, each in value.items()}
        if isinstance(value, list):
            shapes = [self.fields(each) for each in value]
            return [each for i, each in enumerate(shapes) if each not in shapes[:i]]
        return soft(type(value).__name__)

    def _scrubbed(self, text: str) -> str:
        text = text.replace(str(self.tmp), "TMP").replace(str(self.data), "DATA")
        return _TIME.sub("TIME", text)

    def records(self) -> dict[str, Any]:
        return {path.stem: json.loads(path.read_bytes()) for path in sorted(self.store.glob("records/*/*.json"))}

    def keep_store(self, label: str) -> None:
        """Keep what the store's files hold: keys, contents, and a digest of each object's, record's and catalog's."""
        objects = {}
        for folder in sorted(self.store.glob("objects.zarr/*/*")):
            if folder.is_dir():
                files = sorted(each for each in folder.rglob("*") if each.is_file())
                objects[folder.name] = digest(
                    [[str(each.relative_to(folder)), digest(each.read_bytes())] for each in files]
                )
        catalogs = {
            f"{path.parent.name}/{path.stem}": [
                digest(self._firm(json.loads(line))) for line in path.read_text().splitlines()
            ]
            for path in sorted(self.store.glob("catalog/*/*.jsonl"))
        }
        records = {
            key: {"content": fields["content"], "recipe": fields["recipe"], "digest": digest(self._firm(fields))}
            for key, fields in self.records().items()
        }
        findings = {
            path.stem: digest(self._firm(json.loads(path.read_bytes())["findings"]))
            for path in sorted(self.store.glob("findings/*/*.json"))
        }
        others = sorted(str(each.relative_to(self.store)) for each in self.store.glob("*"))
        self.found[label] = {
            "records": records, "objects": objects, "catalogs": catalogs, "findings": findings, "folders": others,
        }  # fmt: skip

    def _firm(self, value: Any) -> Any:
        """Return a value with its texts and what varies as kinds only."""
        return _kinds(self.plain(value))

    def keep_loader(self, corpus: str, **selected: Any) -> None:
        """Keep the digest of every batch's bytes, for each window and each way of reading."""
        import brainbrr

        store = brainbrr.open_store(self.store)
        for name, spec in WINDOWS.items():
            view = brainbrr.view(store, corpus=corpus, window=brainbrr.WindowSpec(**spec), **selected)
            kept: dict[str, Any] = {
                "view": view.digest,
                "windows": len(view),
                "classes": digest(view.classes().tobytes()),
            }
            for place in (0, -1):
                window = view[place]
                arrays = (window.signal, window.label, window.valid)
                kept[f"window {place}"] = [window.start_s, *(digest(each.tobytes())[:16] for each in arrays)]
            for label, options in LOADERS.items():
                options = {"batch": 8, "epochs": 1, "as_numpy": True, **options}
                if "augment" in options:
                    options["augment"] = brainbrr.Augment(**options["augment"])
                with brainbrr.loader(view, **options) as batches:
                    kept[label] = _batches(batches)
            self.found[f"loader, {name}"] = kept


def _batches(batches: Any) -> list[str]:
    """Return a digest of signal, label, valid and index together, for each batch."""
    found = []
    for batch in batches:
        arrays = [np.ascontiguousarray(each) for each in batch]
        found.append(digest([[str(each.dtype), list(each.shape), digest(each.tobytes())] for each in arrays])[:16])
    return found


def _softened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _softened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_softened(each) for each in value]
    return soft("float", f"{value:.6g}") if isinstance(value, float) else value


def _kinds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kinds(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_kinds(each) for each in value]
    return value.split(" ")[0] if isinstance(value, str) and value.startswith("~") else value


def trees(run: Freezer) -> None:
    """Labelled and unlabelled trees, what can be done with their store, its damage and its deletion."""
    (run.tmp / "own.toml").write_text("notch_hz = false\n")
    run.run("init", "dry run", "plan", "ingest like, smoke", "ingest like", "ingest like, upstream")
    run.run("ingest like, own recipe", "plan, stored", "ingest layout", "ingest siena", "status", "view")
    view = json.loads((run.tmp / "view.json").read_bytes())
    run.found["view's file"] = digest(run._firm(view))
    with np.load(run.tmp / "index.npz", allow_pickle=False) as arrays:
        run.found["index's arrays"] = {n: [str(arrays[n].dtype), digest(arrays[n].tobytes())] for n in sorted(arrays)}
    chosen = view["recordings"][0]
    run.words |= {"recording": chosen["path"], "key": chosen["key"]}
    (run.tmp / "exclude.txt").write_text(chosen["path"] + "\n")
    run.run("view, smoke", "view, config", "view, patients", "view, where", "view, exclude", "view, quality")
    run.run("view, no labels", "view, not ready", "why", "why, changed", "why, key", "why, unknown")
    run.run("verify", "verify, checksums", "verify, quick", "check", "check, profile")
    run.run("ingest like, rehash", "runs", "recompress")
    run.run("verify, remembered", "bench", keep=run.fields)  # what was verified in the last seconds is not remembered
    run.keep_store("store")
    run.keep_loader("like")
    run.run("recipe list", "recipe retire", "pin", "pin, list", "gc", "pin, remove", "recipe restore", "forget")
    for fix in ("repair", "repair, from"):
        damage(run.store)
        run.run("verify", "check", after=f"damage before {fix}")
        run.run(fix)
        run.run("verify", after=fix)
    run.run("forget, yes", "recipe retire", "gc, yes", "status", after="all else")
    run.run("gc, yes", after="gc")
    run.keep_store("store, after gc")


def damage(store: Path) -> None:
    """Change a byte in the middle of the first object's first file."""
    file = min(store.glob("objects.zarr/*/*/c.0.0"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def refusals(run: Freezer) -> None:
    """Files that are refused, each for a reason of its own, and what is stored beside them."""
    run.run("plan odd", "ingest odd", "ingest odd, no labels", "view odd", "check odd", "ingest odd, accepted")
    run.run("view odd", after="accepting")
    run.run("ingest edf", "ingest chb", "ingest seizeit", "view edf", "status")
    run.keep_store("store")


def scores(run: Freezer) -> None:
    """Events that are scored as files alone."""
    run.run("score", "score, same")


def learning(run: Freezer) -> None:
    """A training of two steps and what comes after it, on a corpus that this file writes."""
    write_made(run.tmp / "made")
    (run.tmp / "tiny.toml").write_text(TINY)
    run.run("ingest made", "view made")
    run.keep_store("store")
    run.run("train", "train, resumed", "train, init", "evaluate", "evaluate, dev", "evaluate, leak", keep=run.learned)
    run.run("predict", "runs", "runs, two", keep=run.learned)
    run.found["predicted files"] = sorted(str(p.relative_to(run.tmp)) for p in (run.tmp / "events").rglob("*.*"))


PARTS = {"trees": trees, "refusals": refusals, "scores": scores, "learning": learning}
"""Each is frozen into a file of its own, `NAME.json`."""

_CHANNELS = (
    "FP1", "FP2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "T3", "T4", "T5", "T6", "FZ", "CZ", "PZ",
)  # fmt: skip
_RATE, _SECONDS = 256, 24


def write_made(root: Path) -> None:
    """Write a small corpus in the shape of TUSZ; every second recording holds a seizure."""
    patients = (
        ("train", "madeaaaa"),
        ("train", "madebbbb"),
        ("dev", "madecccc"),
        ("eval", "madedddd"),
        ("eval", "madeeeee"),
    )
    for split, patient in patients:
        folder = root / "edf" / split / patient / "s001_2015" / "01_tcp_ar"
        folder.mkdir(parents=True)
        for number in range(2):
            name = f"{patient}_s001_t00{number}"
            seizure = (8, 16) if number else None
            (folder / f"{name}.edf").write_bytes(_edf(name, seizure))
            rows = ((0, 8, "bckg"), (8, 16, "seiz"), (16, 24, "bckg")) if seizure else ((0, 24, "bckg"),)
            lines = [f"TERM,{start}.0000,{stop}.0000,{label},1.0000" for start, stop, label in rows]
            head = ["# version = csv_v1.0.0", f"# bname = {name}", f"# duration = {_SECONDS}.00 secs", "#"]
            table = ["channel,start_time,stop_time,label,confidence", *lines]
            (folder / f"{name}.csv_bi").write_text("\n".join([*head, *table]) + "\n")


def _edf(name: str, seizure: tuple[int, int] | None) -> bytes:
    """Return an EDF of noise that no library's random numbers decide, with a 4 Hz triangle in its seizure."""
    n, rows = len(_CHANNELS), _SECONDS * _RATE
    noise = np.frombuffer(hashlib.shake_256(name.encode()).digest(n * rows), dtype=np.int8).astype("<i2")
    signal = noise.reshape(n, rows) * 2
    if seizure is not None:
        wave = (np.abs(np.arange(rows) % 64 - 32) - 16) * 60
        wave[: seizure[0] * _RATE] = wave[seizure[1] * _RATE :] = 0
        signal = (signal + wave).astype("<i2")
    widths_and_values = (
        (16, [f"EEG {each}-REF" for each in _CHANNELS]), (80, [""] * n), (8, ["uV"] * n),
        (8, ["-3276.8"] * n), (8, ["3276.7"] * n), (8, ["-32768"] * n), (8, ["32767"] * n),
        (80, [""] * n), (8, [_RATE] * n), (32, [""] * n),
    )  # fmt: skip
    first = ((8, 0), (80, name), (80, "made for a test"), (8, "01.01.15"), (8, "00.00.00"), (8, 256 * (n + 1)))
    head = [f"{value:<{width}}" for width, value in (*first, (44, ""), (8, _SECONDS), (8, 1), (4, n))]
    head += [f"{value:<{width}}" for width, values in widths_and_values for value in values]
    return "".join(head).encode() + signal.reshape(n, _SECONDS, _RATE).transpose(1, 0, 2).tobytes()


def data_folder() -> Path:
    return Path(os.environ.get("BRAINBRR_TEST_DATA", ROOT.parent / "shared" / "data"))


def freeze(part: str, data: Path) -> dict[str, Any]:
    """Return what one part gives now."""
    with tempfile.TemporaryDirectory(prefix="goldens-") as name:
        tmp = Path(name).resolve()
        for variable in [each for each in os.environ if each.startswith("BRAINBRR_")]:
            del os.environ[variable]
        os.environ |= {"BRAINBRR_STORE": str(tmp / "store"), "HOME": str(tmp)}
        os.environ |= {f"XDG_{each}_HOME": str(tmp / each.lower()) for each in ("CACHE", "CONFIG", "DATA", "STATE")}
        run = Freezer(data.resolve(), tmp)
        PARTS[part](run)
        return run.found


def differences(golden: Any, now: Any, where: str = "", *, strict: bool = False) -> list[str]:
    """Return where a golden value is not there any more, or not the same; what is new beside it is none."""
    if isinstance(golden, dict) and isinstance(now, dict):
        gone = [f"{where}/{key}: gone" for key in golden if key not in now]
        kept = [(key, each) for key, each in golden.items() if key in now]
        return gone + [d for key, each in kept for d in differences(each, now[key], f"{where}/{key}", strict=strict)]
    if isinstance(golden, list) and isinstance(now, list):
        if len(golden) != len(now):
            return [f"{where}: {len(golden)} were frozen, {len(now)} now"]
        pairs = enumerate(zip(golden, now, strict=True))
        return [d for i, (one, other) in pairs for d in differences(one, other, f"{where}/{i}", strict=strict)]
    if not strict:
        golden, now = _kinds(golden), _kinds(now)
    return [] if type(golden) is type(now) and golden == now else [f"{where}: {golden!r} was frozen, {now!r} now"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--write", action="store_true", help="freeze what there is now")
    parser.add_argument("--strict", action="store_true", help="compare texts and a training's numbers, too")
    options = parser.parse_args()
    found = []
    data = data_folder()
    if not data.is_dir():
        parser.error(f"no real recordings at {data}; set BRAINBRR_TEST_DATA to their folder")
    for part in options.part or PARTS:
        now, file = freeze(part, data), FOLDER / f"{part}.json"
        if options.write:
            file.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
        else:
            golden = json.loads(file.read_text())
            found += [f"{part}{each}" for each in differences(golden, now, strict=options.strict)]
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
