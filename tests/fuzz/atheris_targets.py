"""The same targets, led by coverage: `python tests/fuzz/atheris_targets.py edf -runs=10000`.

Needs atheris, which nothing else does. What it takes after the name are libFuzzer's own options.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]


def main() -> None:
    """Fuzz one target until it is told to stop, or something comes out that is not ours."""
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit("atheris is not installed: `pip install atheris`, or fuzz with BRAINBRR_TORTURE=1 pytest tests/fuzz")
    with atheris.instrument_imports(include=["brainbrr", "tomllib", "zipfile", "json"]):
        from fuzz.oracle import watched
        from fuzz.targets import TARGETS, TOKENS, Place

    from brainbrr.errors import BrainbrrError

    name, *options = sys.argv[1:] or [""]
    if name not in TARGETS:
        sys.exit(f"usage: atheris_targets.py TARGET [-runs=N] [-max_total_time=SECONDS]; targets: {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory() as folder:
        place = Place.make(Path(folder) / "fuzz")
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        seeds = TARGETS[name].seeds(place)
        for i, seed in enumerate(seeds):
            (corpus / str(i)).write_bytes(seed)
        words = Path(folder) / "words"
        words.write_text("".join(f'"{escaped(token)}"\n' for token in TOKENS if token))

        def once(data: bytes) -> None:
            try:
                with watched(place.folder):
                    TARGETS[name].read(place, data)
            except BrainbrrError as error:
                assert isinstance(error, TARGETS[name].errors), error

        longest = 2 * max(map(len, seeds))
        atheris.Setup(
            [sys.argv[0], f"-dict={words}", f"-max_len={longest}", "-rss_limit_mb=4096", *options, str(corpus)], once
        )
        atheris.Fuzz()


def escaped(token: bytes) -> str:
    """Return bytes as a dictionary of libFuzzer writes them."""
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    main()
