"""Take away each fsync, each exclusive name and each proof in turn, and see that some test fails.

`python tests/torture/mutants.py --full` tries all mutants; `--list` prints them; `--sample N` takes N of them, evenly.
They are found by what the code says, not by a list, so new code is covered by itself. Each is applied to a copy of the
checkout, in which the tests that come by its lines run until the first fails. Those that no test can catch are in
EXCUSED, each with the reason; one that is caught, or gone, must leave that list.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest
from excused import EXCUSED

ROOT = Path(__file__).resolve().parent.parent.parent

SEARCHED = (
    "brainbrr/store/*.py",
    "brainbrr/core/files.py",
    "brainbrr/core/statcache.py",
    "brainbrr/ingest/scan.py",
    "brainbrr/ingest/reuse.py",
)
NOT_SEARCHED = ("copy.py", "failpoints.py")  # copies have an original; the other one proves nothing

STEPS = re.compile(r"_?(sync|fsync|finish|fchmod|inspect|decode|prove|verify|check|refuse|match|ensure|link|publish)")
"""Calls that stand alone in a line and are taken away."""
FLAGS = ("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_CLOEXEC")
COMPARED = ("statcache.py", "reuse.py")
"""Where every comparison decides whether something is believed."""

FIRST = (
    "store/test_write_order.py",
    "store/test_store.py",
    "core/test_files.py",
    "store/test_layout.py",
    "core/test_statcache.py",
)
LAST = (
    "store/test_verify.py",
    "ingest/test_repair.py",
    "ingest/test_removals.py",
    "store/test_retention.py",
    "views/test_check.py",
    "store/test_recompress.py",
    "test_promises.py",
    "ingest/test_recovery.py",
    "ingest/test_reingest.py",
    "views/test_status.py",
)
"""All of tests/store runs between them."""
QUICK = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning")
SECONDS = 60
"""Of one test: a mutant may make the code try for ever."""
_FEW = 8
"""So many mutants are tried by whole files of tests, without finding out first which tests come by them."""
PRELOADED = ("numpy", "zarr", "scipy.signal", "xxhash", "google_crc32c", "numcodecs", "pydantic", "click")


@dataclass(frozen=True)
class Mutant:
    """One piece of a file, and what takes its place."""

    path: str
    function: str
    start: int
    stop: int
    old: str
    new: str

    @property
    def name(self) -> str:
        """Which mutant this is, also after lines were moved."""
        return f"{Path(self.path).name} {self.function}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"


def found(root: Path) -> dict[str, Mutant]:
    """Return all mutants of a checkout by name."""
    paths = sorted({path for pattern in SEARCHED for path in root.glob(pattern)})
    mutants: dict[str, Mutant] = {}
    for path in (path for path in paths if path.name not in NOT_SEARCHED):
        for mutant in dict.fromkeys(_of_file(path, root)):
            n = 1 + sum(name.partition(" #")[0] == mutant.name for name in mutants)
            mutants[mutant.name if n == 1 else f"{mutant.name} #{n}"] = mutant
    return mutants


def _of_file(path: Path, root: Path) -> Iterator[Mutant]:
    text = path.read_bytes()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def visit(node: ast.AST, function: str) -> Iterator[Mutant]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            function = f"{function}.{node.name}".lstrip(".")
        for piece, new in _changes(node, path.name):
            assert piece.end_lineno is not None and piece.end_col_offset is not None
            start = starts[piece.lineno - 1] + piece.col_offset
            stop = starts[piece.end_lineno - 1] + piece.end_col_offset
            old = text[start:stop].decode()
            yield Mutant(str(path.relative_to(root)), function, start, stop, old, new)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    yield from visit(ast.parse(text), "")


def _changes(node: ast.AST, file: str) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Return the pieces of a node that are changed, each with its replacement."""
    match node:
        case ast.Expr(value=ast.Call() as call) if STEPS.match(_callee(call)):
            yield node, "pass"
        case ast.Call(args=[_, target]) if _callee(node) == "link" and "os." in ast.unparse(node.func):
            yield node, f"(({ast.unparse(target)}).unlink(missing_ok=True), {ast.unparse(node)})"
        case ast.Call(func=ast.Attribute(attr="rename"), args=[target]):
            away = f"__import__('shutil').rmtree({ast.unparse(target)}, ignore_errors=True)"
            yield node, f"({away}, {ast.unparse(node)})"
        case ast.Attribute(attr=name) if name in FLAGS:
            yield node, "0"
        case ast.Constant(value="xb"):
            yield node, '"wb"'
        case ast.If(test=test, body=[ast.Raise()]):
            yield test, "False"
        case ast.If(test=test) if file in COMPARED or ast.unparse(test) == "durable":
            yield test, "False"
        case ast.Assign(value=ast.Compare() as test):
            yield test, "False"
        case ast.Return(value=ast.Compare() as test) | ast.IfExp(test=ast.BoolOp(values=[*_, ast.Compare() as test])):
            yield test, "True"
        case ast.BoolOp(values=values) if file in COMPARED:
            yield from (
                (value, str(isinstance(node.op, ast.And))) for value in values if isinstance(value, ast.Compare)
            )
        case ast.arguments():
            for argument, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                if argument.arg == "durable" and default is not None:
                    yield default, "False"


def _callee(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@dataclass(frozen=True)
class InOrder:
    """A plugin: files in the order asked for, the name of what fails, an end for a test that takes too long."""

    tests: tuple[str, ...]
    failed: Path
    seconds: int

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        files = [test.partition("::")[0] for test in self.tests]
        items.sort(key=lambda item: files.index(item.nodeid.partition("::")[0]))

    def pytest_runtest_setup(self) -> None:
        signal.alarm(self.seconds)

    def pytest_runtest_logreport(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            self.failed.write_text(report.nodeid.partition("[")[0])

    pytest_collectreport = pytest_runtest_logreport


class Mapped:
    """A plugin that tells coverage which test runs."""

    def __init__(self, tracer: coverage.Coverage) -> None:
        self.tracer = tracer

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.tracer.switch_context(item.nodeid.partition("[")[0])


def files_for(module: str, folder: Path) -> list[str]:
    """Return the test files for a module: its own, the first, and all others."""
    own = [f"{kind}test_{module}.py" for kind in ("store/", "ingest/", "core/")]
    store = sorted({f"store/{path.name}" for path in folder.glob("store/test_*.py")} - {*LAST})
    return [f"tests/{name}" for name in dict.fromkeys([*own, *FIRST, *store, *LAST]) if (folder / name).exists()]


class Checkout:
    """A copy of the checkout, in which one mutant at a time lives."""

    def __init__(self, folder: Path, trace: Path) -> None:
        self.folder, self.sound, self.seconds, self.trace = folder, set[str](), itertools.count(1), trace
        for name in ("brainbrr", "configs", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "store").mkdir()
        for name in ("pyproject.toml", "store/README.md"):
            shutil.copy(ROOT / name, folder / name)

    def map(self) -> None:
        """Run all tests, without a mutant, and write down which lines each comes by. Raises where one fails."""
        stems = sorted({Path(path).stem for pattern in SEARCHED for path in self.folder.glob(pattern)})
        tests = list(dict.fromkeys(test for stem in stems for test in files_for(stem, self.folder / "tests")))
        if failed := self._tested(tests, trace=True):
            raise RuntimeError(f"{failed} fails without any mutant")

    def _tests_of(self, mutant: Mutant, path: Path) -> list[str]:
        """Return the tests that come by a mutant, after its own, which may do so in other processes; on import, all."""
        ordered = files_for(path.stem, self.folder / "tests")
        if not self.trace.exists():
            return ordered
        lines = path.read_bytes()
        first, last = (lines.count(b"\n", 0, at) + 1 for at in (mutant.start, mutant.stop))
        data = coverage.CoverageData(str(self.trace))
        data.read()
        mapped = self.trace.with_name("0") / mutant.path
        by_line = data.contexts_by_lineno(str(mapped))
        tests = {test for n in range(first, last + 1) for test in by_line.get(n, ()) if test}
        own = [file for file in ordered if file.endswith(f"/test_{path.stem}.py")]
        known = [test for test in tests if test.partition("::")[0] in set(ordered) - set(own)]
        if not known:
            return ordered
        return own + sorted(known, key=lambda test: (ordered.index(test.partition("::")[0]), test))

    def caught(self, mutant: Mutant) -> str | None:
        """Return the test that fails with a mutant in place, None when all pass."""
        path = self.folder / mutant.path
        good = path.read_bytes()
        try:
            tests = self._tests_of(mutant, path)
            self._write(path, good[: mutant.start] + mutant.new.encode() + good[mutant.stop :])
            test = self._tested(tests)
        finally:
            self._write(path, good)
        if test and "::" in test and test not in self.sound:
            if self._tested([test]):
                raise RuntimeError(f"{test} fails without any mutant")
            self.sound.add(test)
        return test

    @contextmanager
    def _traced(self) -> Iterator[list[object]]:
        """Give the plugins that write down which lines each test comes by."""
        tracer = coverage.Coverage(data_file=str(self.trace), source=[str(self.folder / "brainbrr")])
        tracer.start()
        try:
            yield [Mapped(tracer)]
        finally:
            tracer.stop()
            tracer.save()

    def _write(self, path: Path, source: bytes) -> None:
        """Write a source at a second of its own: by that, Python knows whether what it compiled is of this source."""
        path.write_bytes(source)
        os.utime(path, (next(self.seconds),) * 2)

    def _tested(self, tests: Sequence[str], *, trace: bool = False) -> str | None:
        """Run tests in a fork that has imported all libraries but brainbrr; return the one that fails."""
        log, failed = self.folder / "log", self.folder / "failed"
        failed.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                os.chdir(self.folder)
                sys.path.insert(0, str(self.folder))
                os.environ["PYTHONPATH"] = str(self.folder)
                descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                options = [*QUICK, "--basetemp", str(self.folder / "tmp")]
                in_order = InOrder(tuple(tests), failed, 0 if trace else SECONDS)
                with self._traced() if trace else nullcontext([]) as plugins:
                    code = int(pytest.main([*options, *tests], plugins=[in_order, *plugins]))
                sys.stdout.flush()
                os._exit(code)
            except BaseException:  # noqa: BLE001  # told by the log
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            return f"a test that never ends (signal {os.WTERMSIG(status)})"
        if os.waitstatus_to_exitcode(status) == 0:
            return None
        if not failed.exists():
            raise RuntimeError(f"no test failed, and pytest did: {log.read_text(errors='replace')[-2000:]}")
        return failed.read_text()


def try_all(mutants: Mapping[str, Mutant], folder: Path, *, jobs: int, say: bool = False) -> dict[str, str | None]:
    """Return by mutant the test that caught it."""
    for name in PRELOADED:
        __import__(name)
    children = []
    checkouts = [Checkout(folder / str(job), folder / "trace") for job in range(jobs)]
    if len(mutants) > _FEW:
        checkouts[0].map()
    for job, checkout in enumerate(checkouts):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with (folder / f"said-{job}").open("w") as said:
                    for name in list(mutants)[job::jobs]:
                        line = f"{name}\t{checkout.caught(mutants[name]) or ''}\n"
                        said.write(line)
                        said.flush()
                        sys.stderr.write(line if say else "")
                code = 0
            except BaseException:  # noqa: BLE001  # told by the exit code
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    if [child for child in children if os.waitpid(child, 0)[1]]:
        raise RuntimeError("a job of the torture broke")
    lines = [line for job in range(jobs) for line in (folder / f"said-{job}").read_text().splitlines()]
    return {name: test or None for name, _, test in (line.partition("\t") for line in lines)}


def main() -> None:
    """Find the mutants, try them, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all mutants (the default)")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many of them")
    parser.add_argument("--only", default="", metavar="TEXT", help="only those with such a text; several: A|B")
    parser.add_argument("--list", action="store_true", help="print their names")
    parser.add_argument("--say", action="store_true", help="print which test caught each")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    every = found(ROOT)
    gone = sorted(EXCUSED.keys() - every.keys())
    names = [name for name in every if any(text in name for text in asked.only.split("|"))]
    step = max(1, len(names) // (asked.sample or len(names)))
    mutants = {name: every[name] for name in names[step // 2 :: step]}
    if asked.list:
        sys.stdout.write("".join(f"{name}\n" for name in mutants))
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        Path(folder).chmod(0o755)  # some tests read as nobody
        tried = try_all(mutants, Path(folder), jobs=asked.jobs, say=asked.say)
    survived = sorted(name for name, test in tried.items() if test is None and name not in EXCUSED)
    needless = sorted(name for name, test in tried.items() if test is not None and name in EXCUSED)
    for kind, names in (("survived", survived), ("caught, but excused", needless), ("excused, but gone", gone)):
        sys.stderr.write("".join(f"{kind}: {name}\n" for name in names))
    n_excused = sum(name in EXCUSED for name in tried)
    sys.stdout.write(
        f"mutants: {len(tried):,} of {len(every):,} tried, {sum(map(bool, tried.values())):,} caught, "
        f"{n_excused} excused, {len(survived)} survived, {time.monotonic() - began:.0f} s\n"
    )
    sys.exit(bool(survived or needless or gone))


if __name__ == "__main__":
    main()
