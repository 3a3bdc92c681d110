"""Public names follow numpydoc: the sections that a signature needs, and examples that run on a generated store."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers.support import TINY

import brainbrr
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.loading.recordings import Recordings, ViewRecording
from brainbrr.views.view import Windows
from brainbrr.views.window import Window

RETURNED = {"Recordings": Recordings, "ViewRecording": ViewRecording, "Window": Window, "Windows": Windows}
"""Classes that public names return and that people use, though they have no public name."""


def public() -> Iterator[tuple[str, Any]]:
    """Yield every public name and every public method of the classes among them."""
    for name, thing in {**{name: getattr(brainbrr, name) for name in brainbrr.__all__}, **RETURNED}.items():
        yield name, thing
        if inspect.isclass(thing):
            for method, member in vars(thing).items():
                called = getattr(member, "__func__", member)
                if not method.startswith("_") and inspect.isfunction(called):
                    yield f"{name}.{method}", called


NAMES = dict(public())


def sections(text: str) -> dict[str, str]:
    """Return the sections of a numpydoc docstring by their titles."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named_in(section: str) -> set[str]:
    """Return the names that a Parameters or Attributes section describes."""
    lines = re.findall(r"^(\*{0,2}[a-z_][\w, *]*?)(?: :.*)?$", section, flags=re.MULTILINE)
    return {name.strip(" *") for line in lines for name in line.split(",")}


def needed(thing: Callable[..., Any]) -> tuple[set[str], bool]:
    """Return the parameters of a callable, and whether it returns anything."""
    signature = inspect.signature(thing)
    names = {name for name in signature.parameters if name not in ("self", "cls")}
    return names, signature.return_annotation not in (None, "None", inspect.Signature.empty)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_name_has_the_sections_that_its_signature_needs(name: str) -> None:
    thing = NAMES[name]
    found = sections(inspect.getdoc(thing) or "")
    parameters, returns = needed(thing)
    if inspect.isclass(thing):
        described = named_in(found.get("Parameters", "") + found.get("Attributes", ""))
        assert described, f"{name} has neither Parameters nor Attributes"
        if "Parameters" in found:
            assert parameters <= described, f"{name} does not describe {sorted(parameters - described)}"
    else:
        described = named_in(found.get("Parameters", ""))
        assert parameters == described, f"{name}: {sorted(parameters ^ described)}"
        assert not returns or {"Returns", "Yields"} & found.keys(), f"{name} does not say what it returns"


@pytest.mark.parametrize("name", sorted(name for name in NAMES if "." not in name))
def test_a_public_name_has_an_example(name: str) -> None:
    assert ">>> " in sections(inspect.getdoc(NAMES[name]) or "").get("Examples", "")


def test_a_missing_section_is_seen() -> None:
    text = (
        "One line.\n\nParameters\n----------\nx, y : int\n    Places.\n*z : str\n    Names.\n\nReturns\n-------\nint\n"
    )
    found = sections(text)
    assert found.keys() == {"Parameters", "Returns"} and named_in(found["Parameters"]) == {"x", "y", "z"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the examples name: a corpus `demo`, its store, a config `tiny.toml` and a run `first`."""
    folder = tmp_path_factory.mktemp("examples")
    write_corpus(folder / "demo", n_recordings=18, seed=0, seconds=(20, 24))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "host"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.delenv("BRAINBRR_STORE", raising=False)
        brainbrr.ingest("demo", store="store")
        (folder / "tiny.toml").write_text(TINY)
        if find_spec("torch") and find_spec("safetensors") and find_spec("timescoring"):
            view = brainbrr.view("store", split="train", window=brainbrr.WindowSpec(4, stride_s=2))
            brainbrr.train(view, config="tiny.toml", runs="runs").run.rename("runs/first")
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, thing in NAMES.items() if ">>> " in (inspect.getdoc(thing) or "")])
def test_the_examples_run(name: str, place: Path) -> None:
    if name in ("train", "evaluate", "predict", "runs", "bench") and not (place / "runs").exists():
        pytest.skip("training needs torch, safetensors and timescoring")
    names = {"brainbrr": brainbrr, "Path": Path, "place": place}
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(NAMES[name]) or "", names, name, None, None)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
