"""The house's rule: imports point down only, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import brainbrr

PACKAGE = Path(brainbrr.__file__).parent
LAYERS = [
    {"errors"},
    {"core"},
    {"profiles"},
    {"settings"},
    {"engines", "store", "eeg"},
    {"loading", "scoring"},
    {"views"},
    {"ingest"},
    {"share", "learn"},
    {"look"},
    {"demo"},
    {"api"},
    {"cli"},
    {"__main__", "__init__"},
]
"""Each room may import those above it in this list; rooms of one line do not know each other."""
HOMES = {
    "torch": {"learn"},
    "safetensors": {"learn"},
    "timescoring": {"scoring"},
    "triton": {"learn"},
    "wandb": {"learn"},
    "tensorboard": {"learn"},
    "mamba_ssm": {"learn"},
    "click": {"cli"},
    "rich": {"cli"},
    "mne": {"views"},
    "xarray": {"views"},
    "braindecode": {"views"},
    "lightning": {"learn"},
    "edfio": {"share"},
    "matplotlib": {"views"},
    "pyarrow": {"look"},
    "distributed": {"engines"},
    "dask": {"engines"},
    "submitit": {"engines"},
    "google_crc32c": {"store"},
    "scipy": {"eeg"},
    "numba": {"core", "eeg", "loading"},
    "llvmlite": {"core", "eeg", "loading"},
    "obstore": {"store"},
    "xxhash": {"core"},
    "hashlib": {"core"},
    "platformdirs": {"settings"},
}


@cache
def imports(file: Path) -> set[str]:
    """Return the modules that a file imports, also inside functions, but not for type checking."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(p for p in PACKAGE.rglob("*.py") if "configs" not in p.parts)


def layer(name: str) -> int:
    found = [i for i, rooms in enumerate(LAYERS) if name in rooms]
    assert found, f"{name} has no layer: give it one"
    return found[0]


@pytest.mark.slow
def test_imports_point_down_only() -> None:
    wrong = []
    for file in FILES:
        here = room(file)
        for name in imports(file):
            parts = name.split(".")
            if parts[0] != "brainbrr" or len(parts) < 2 or here == "__init__":
                continue
            there = parts[1]
            if not (PACKAGE / there).is_dir() and not (PACKAGE / f"{there}.py").is_file():
                continue  # a name of the front door
            if layer(there) > layer(here) or (here != there and layer(here) == layer(there)):
                wrong.append(f"{file.relative_to(PACKAGE)} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_no_modules_import_each_other() -> None:
    """Also inside functions; graphlib raises CycleError."""
    names = {".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in FILES}
    inner = {name: file for name, file in names.items() if not name.endswith("__init__")}
    graph = {
        name: {each for found in imports(file) for each in (found, found.rpartition(".")[0]) if each in inner}
        for name, file in inner.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(inner) > 100


@pytest.mark.slow
def test_no_module_imports_another_ones_private_names() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in FILES
        for name in imports(file)
        if name.startswith("brainbrr.")
        and (last := name.rpartition(".")[2]).startswith("_")
        and not last.startswith("__")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_heavy_libraries_stay_in_their_rooms() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in FILES
        for name in imports(file)
        if (home := HOMES.get(name.split(".")[0])) is not None and room(file) not in home
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_only_settings_read_the_environment() -> None:
    readers = {
        room(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers <= {"settings"}


@pytest.mark.slow
def test_only_cli_prints() -> None:
    printers = {
        room(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printers <= {"cli"}


@pytest.mark.slow
def test_help_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import atexit, sys; from brainbrr.cli.main import main; sys.argv = ['brainbrr', *sys.argv[1:]]; "
        "heavy = {'torch', 'scipy', 'zarr', 'mne', 'numpy', 'pydantic', 'rich'}; "
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr)); main()"
    )
    for words in (["--help"], ["ingest", "--help"], ["help", "exit-codes"]):
        ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert ended.stderr.strip() == "[]" and ended.stdout, words


FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "eval", "exec", "compile",
             "__import__", "torch.load"}  # fmt: skip


def runs_what_it_reads(tree: ast.AST) -> set[str]:
    """Return what of FORBIDDEN a module imports or calls; np.load only counts without `allow_pickle=False`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            said = {f"{word.arg}={ast.unparse(word.value)}" for word in node.keywords}
            if name != "np.load" or "allow_pickle=False" not in said:
                found.add(name)
    return found & (FORBIDDEN | {"np.load"})


@pytest.mark.slow
def test_nothing_runs_what_it_reads() -> None:
    found = {
        (file.relative_to(PACKAGE).as_posix(), name)
        for file in PACKAGE.rglob("*.py")
        for name in runs_what_it_reads(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import pickle", "pickle"), ("from marshal import loads", "marshal"), ("eval(x)", "eval"), ("exec(x)", "exec"),
        ("np.load(x)", "np.load"), ("np.load(x, allow_pickle=True)", "np.load"), ("torch.load(x)", "torch.load"),
        ("def f():\n    import joblib.memory", "joblib"), ("__import__(x)", "__import__"),
    ],
)  # fmt: skip
def test_what_would_run_it_is_seen(code: str, name: str) -> None:
    assert runs_what_it_reads(ast.parse(code)) == {name}
    assert runs_what_it_reads(ast.parse("np.load(x, allow_pickle=False), re.compile(x)")) == set()
