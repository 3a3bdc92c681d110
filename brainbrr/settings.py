"""Settings: flags, environment and files become typed values, each with its origin.

The only module that reads the environment. Decides nothing about EEG.

Which of how many processes this is, as a launcher said. Values only; needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from brainbrr.errors import ConfigError, Fix, UsageError

if TYPE_CHECKING:
    from brainbrr.core.statcache import Host
    from brainbrr.profiles import Profile


@dataclass(frozen=True)
class Launch:
    """One process of a training by several: `rank` of `size`, and `local_rank` among those of its node."""

    rank: int
    size: int
    local_rank: int


_PACKAGE = Path(__file__).resolve().parent
_CACHE_VARIABLE, _CACHE_BYTES = "BRAINBRR_CACHE_BYTES", 20_000_000_000
_OBSOLETE_VARIABLES = {
    "CACHE_ROOT": "the store's place is BRAINBRR_STORE or --store",
    "BGB_LIMIT_FILES": "how many files to take is a profile: --profile smoke, dev or full",
}


@dataclass(frozen=True)
class Setting:
    """A path, of the store also a URL, and where it came from: flag, environment, config file or default."""

    location: Path | str
    origin: str

    @property
    def value(self) -> Path:
        """The path. Raises UsageError for a URL: what asks for a path writes there, or needs a store of its own."""
        if isinstance(self.location, Path):
            return self.location
        raise only_read(without_secrets(self.location))

    def __str__(self) -> str:
        return str(self.location) if isinstance(self.location, Path) else without_secrets(self.location)


@dataclass(frozen=True)
class Settings:
    """Where everything is on this host."""

    store: Setting
    runs: Setting
    jobs: Setting
    profiles: Setting
    host: Host
    scheduler: str | None
    cache_bytes: int
    """The most that tiles of stores at URLs may take on this host's disk."""
    file: Path
    """The user's config file, which may be missing."""
    warnings: tuple[str, ...]

    def described(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, value and origin of every setting."""
        for name in ("store", "runs", "jobs", "profiles"):
            setting: Setting = getattr(self, name)
            yield name, str(setting), setting.origin
        origin = "flag --scheduler or environment DASK_SCHEDULER_ADDRESS" if self.scheduler else "default"
        yield "scheduler", self.scheduler or "none", origin
        found = "read" if self.file.is_file() else "not there"
        yield "config file", str(self.file), f"BRAINBRR_CONFIG or default, {found}"
        yield "cache", str(self.host.folder), "user cache folder (XDG_CACHE_HOME)"
        yield "cache bytes", f"{self.cache_bytes:,}", f"{_CACHE_VARIABLE} or default"

    def profiles_of(self, corpus: str | None) -> dict[str, Profile]:
        """Return smoke, dev and full as they are for a corpus."""
        from brainbrr.profiles import load_profiles

        return load_profiles(self.profiles.value, corpus=corpus)

    def profile_of(self, corpus: str | None, name: str) -> Profile:
        """Return one profile of a corpus. Raises UsageError for a name that no profile has."""
        profiles = self.profiles_of(corpus)
        if name not in profiles:
            fix = f"profiles: {', '.join(profiles)}"
            raise UsageError(f"no profile is called {name!r}", fix=fix, code="no-such-profile")
        return profiles[name]


def resolve(
    *,
    store: str | None = None,
    runs: str | None = None,
    jobs: str | None = None,
    profiles: str | None = None,
    scheduler: str | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Return every setting: flag, else environment, else the user's config file, else the default.

    The store's default is the nearest `store/format.json` upwards, else the checkout's `store/`, else the
    user's data folder; never simply the working directory. Raises ConfigError for keys it does not know and for a
    BRAINBRR_CONFIG that is not there: only the default config file may be missing.
    """
    import platformdirs

    from brainbrr.core.statcache import Host

    environ = os.environ if environ is None else environ
    file = _user_config(environ)
    configured = _read_user_config(file)

    def given(name: str, flag: str | None) -> Setting | None:
        variable = f"BRAINBRR_{name.upper()}"
        located = _location if name == "store" else Path
        if flag is not None:
            return Setting(_expanded(located(flag)), f"flag --{name}")
        if environ.get(variable):
            return Setting(_expanded(located(environ[variable])), f"environment {variable}")
        if name in configured:
            found = located(configured[name])
            return Setting(_expanded(file.parent / found if isinstance(found, Path) else found), f"config file {file}")
        return None

    here = cwd or Path.cwd()
    place = given("store", store) or _default_store(here)
    beside = (place if isinstance(place.location, Path) else _default_store(here)).value.parent
    return Settings(
        store=place,
        runs=given("runs", runs) or Setting(beside / "runs", "default, beside the store"),
        jobs=given("jobs", jobs) or Setting(beside / "jobs", "default, beside the store"),
        profiles=given("profiles", profiles) or Setting(configs() / "profiles.toml", "default"),
        host=Host(Path(platformdirs.user_cache_dir("brainbrr", appauthor=False))),
        scheduler=scheduler or environ.get("DASK_SCHEDULER_ADDRESS"),
        cache_bytes=_cache_bytes(environ.get(_CACHE_VARIABLE)),
        file=file,
        warnings=tuple(
            f"{name} in the environment is ignored: {instead}"
            for name, instead in _OBSOLETE_VARIABLES.items()
            if name in environ
        ),
    )


def _location(text: str) -> Path | str:
    """Return a path, also of a file:// URL, or any other URL without a last slash."""
    scheme, is_url, rest = text.partition("://")
    if is_url and scheme.lower() == "file":
        return Path(rest)
    return text.rstrip("/") if is_url else Path(text)


def _expanded(location: Path | str) -> Path | str:
    return location.expanduser() if isinstance(location, Path) else location


def _cache_bytes(text: str | None) -> int:
    if not text:
        return _CACHE_BYTES
    if not text.isdecimal():
        raise ConfigError(f"{_CACHE_VARIABLE} = {text[:40]!r}: a number of bytes", fix="0 keeps no tile on disk")
    return int(text)


def only_read(url: str) -> UsageError:
    """Return the error for a store at a URL where one in a folder is needed."""
    what = "this needs a store in a folder; one at a URL is only read"
    fix = Fix(("pull", url, "--store", "FOLDER"), " fetches what you need into a store of yours")
    return UsageError(what, where=url, fix=fix, code="read-only")


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def wants_colour(environ: Mapping[str, str] | None = None) -> bool | None:
    """Return False where NO_COLOR asks for plain text, else None: whatever the terminal can do."""
    return False if (os.environ if environ is None else environ).get("NO_COLOR") else None


def configs() -> Path:
    """Return the folder of the configs that come with brainbrr: in the package, or in the checkout."""
    packaged = _PACKAGE / "configs"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "configs"


def _is_store(folder: Path) -> bool:
    try:
        return (folder / "format.json").is_file()
    except PermissionError:  # opening it says who may
        return True


def _default_store(cwd: Path) -> Setting:
    for folder in (cwd, *cwd.parents):
        if _is_store(folder / "store"):
            return Setting(folder / "store", "default, found upwards from the working directory")
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "store").is_dir():
        return Setting(checkout / "store", "default, the checkout's store")
    import platformdirs

    return Setting(Path(platformdirs.user_data_dir("brainbrr", appauthor=False)) / "store", "default, user data folder")


def _user_config(environ: Mapping[str, str]) -> Path:
    import platformdirs

    if not environ.get("BRAINBRR_CONFIG"):
        return Path(platformdirs.user_config_dir("brainbrr", appauthor=False)) / "config.toml"
    named = Path(environ["BRAINBRR_CONFIG"]).expanduser()
    if not named.is_file():
        raise ConfigError("BRAINBRR_CONFIG names no file", where=named, fix="correct BRAINBRR_CONFIG, or unset it")
    return named


def _read_user_config(file: Path) -> dict[str, str]:
    from brainbrr.core.toml import read_toml

    known = ("store", "runs", "jobs", "profiles")
    try:
        table = read_toml(file)
    except FileNotFoundError:
        return {}
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}", where=file, fix=f"settings: {', '.join(known)}")
        if not isinstance(value, str):
            raise ConfigError(f"{name} = {value!r}: a path in quotes", where=file)
    return table


def launched(environ: Mapping[str, str] | None = None) -> Launch | None:
    """Return what torchrun set for this process, None where it set nothing. Raises ConfigError for half of it."""

    environ = os.environ if environ is None else environ
    if "RANK" not in environ or "WORLD_SIZE" not in environ:
        return None
    try:
        rank, size = int(environ["RANK"]), int(environ["WORLD_SIZE"])
        if not 0 <= rank < size:
            raise ValueError(f"no process {rank} of {size}")
        if lacking := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environ]:
            raise ValueError(f"{' and '.join(lacking)} would say where the processes meet")
        return Launch(rank, size, int(environ.get("LOCAL_RANK", rank)))
    except ValueError as error:
        raise ConfigError(f"RANK, WORLD_SIZE or LOCAL_RANK in the environment: {error}", fix="use torchrun") from None


def make_cuda_deterministic(environ: MutableMapping[str, str] | None = None) -> None:
    """Give cuBLAS workspaces of a fixed size, without which its sums are not the same twice; before CUDA starts."""
    (os.environ if environ is None else environ).setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def let_threads_sleep(environ: MutableMapping[str, str] | None = None) -> None:
    """Let torch's OpenMP threads sleep while they wait, not spin; before torch is imported.

    Spinning gains nothing on two idle cores, and makes a step many times slower where others use the cores too.
    """
    (os.environ if environ is None else environ).setdefault("OMP_WAIT_POLICY", "PASSIVE")
