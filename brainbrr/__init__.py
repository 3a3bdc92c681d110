"""One content-addressed zarr store for EEG recordings, and verified views onto it.

The public names, imported when first used so that `import brainbrr` is quick.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainbrr.api import (
        Augment,
        BrainbrrError,
        Index,
        Loader,
        Recipe,
        Store,
        TrainConfig,
        View,
        WindowSpec,
        bench,
        bundle,
        check,
        config,
        data_module,
        demo,
        diff,
        doctor,
        evaluate,
        export,
        forget,
        gc,
        ingest,
        init,
        loader,
        lock,
        log,
        ls,
        open_store,
        pin,
        predict,
        pull,
        push,
        recipes,
        recompress,
        remotes,
        repair,
        report,
        runs,
        score,
        show,
        split,
        status,
        train,
        unbundle,
        usage,
        verify,
        view,
        why,
    )


__all__ = [
    "Augment",
    "BrainbrrError",
    "Index",
    "Loader",
    "Recipe",
    "Store",
    "TrainConfig",
    "View",
    "WindowSpec",
    "bench",
    "bundle",
    "check",
    "config",
    "data_module",
    "demo",
    "diff",
    "doctor",
    "evaluate",
    "export",
    "forget",
    "gc",
    "ingest",
    "init",
    "loader",
    "lock",
    "log",
    "ls",
    "open_store",
    "pin",
    "predict",
    "pull",
    "push",
    "recipes",
    "recompress",
    "remotes",
    "repair",
    "report",
    "runs",
    "score",
    "show",
    "split",
    "status",
    "train",
    "unbundle",
    "usage",
    "verify",
    "view",
    "why",
]


class _Package(ModuleType):
    """The package as a module. A submodule `ingest` or `demo` must not take the place of the function."""

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
    from brainbrr import api

    value = getattr(api, name)
    globals()[name] = value
    return value
