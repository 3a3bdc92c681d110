"""One content-addressed zarr store for EEG recordings, and verified views onto it.

The front door: what most programs need, imported when first used so that `import brainbrr` is quick.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainbrr.api import check, evaluate, gc, ingest, loader, open_store, pin, predict, repair, train, verify, view
    from brainbrr.eeg.signal.recipe import Recipe
    from brainbrr.errors import BrainbrrError
    from brainbrr.loading.augment import Augment
    from brainbrr.loading.index import Index
    from brainbrr.loading.windows import WindowSpec


__all__ = [
    "Augment",
    "BrainbrrError",
    "Index",
    "Recipe",
    "WindowSpec",
    "check",
    "evaluate",
    "gc",
    "ingest",
    "loader",
    "open_store",
    "pin",
    "predict",
    "repair",
    "train",
    "verify",
    "view",
]

_HOME = {
    "Augment": "brainbrr.loading.augment",
    "BrainbrrError": "brainbrr.errors",
    "Index": "brainbrr.loading.index",
    "Recipe": "brainbrr.eeg.signal.recipe",
    "WindowSpec": "brainbrr.loading.windows",
}


class _Package(ModuleType):
    """The package, in which a public name stays what it is when a room of that name (`ingest`) is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("brainbrr")
    if name not in __all__:
        raise AttributeError(f"module 'brainbrr' has no attribute {name!r}")
    value = getattr(import_module(_HOME.get(name, "brainbrr.api")), name)
    globals()[name] = value
    return value
