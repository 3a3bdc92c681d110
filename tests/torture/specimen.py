"""A store that has every kind of file, made as users make it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from helpers.support import EVERYTHING

from brainbrr.core.statcache import Host
from brainbrr.eeg.corpus.tree import locate, scan
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.forget import forget
from brainbrr.store.formats import Codec
from brainbrr.store.gc import gc
from brainbrr.store.store import Store
from brainbrr.views.report import ViewRequest, view
from brainbrr.views.retention import pin, retire

OTHER = Recipe(name="other", notch_hz=50)


def make_specimen(folder: Path, *, codec: Codec, host: Host) -> Path:
    """Make a store at folder/store of a corpus at folder/demo, and return where it is.

    Four recordings, one of them only in frozen views; three generations, the first one forgotten; two frozen views, one
    of them pinned; a retired recipe with records that a view still names; receipts.
    """
    corpus, location = folder / "demo", folder / "store"
    write_corpus(corpus, n_recordings=4, seconds=(22, 25))
    store = Store.create(location, codec=codec)

    def again(recipe: Recipe = Recipe()) -> None:  # noqa: B008  # frozen
        accept = frozenset({"removed"})
        ingest(IngestOptions(root=corpus, store=location, recipe=recipe, workers=1, host=host, accept=accept))

    def freeze(recipe: Recipe, length_s: str) -> str:
        window = WindowSpec(length_s=length_s, stride_s=length_s)
        found = view(store, ViewRequest(EVERYTHING, recipe, window), location=location, host=host).view
        store.freeze(str(found.digest), found.to_json())
        return str(found.digest)

    again()
    again(OTHER)
    forget(store, "demo", older_than_s=0, yes=True)
    pin(store, freeze(Recipe(), "4"))
    freeze(OTHER, "8")
    retire(store, OTHER.digest)
    files = scan(locate(corpus, name=None))
    files[0].edf.unlink()
    again()
    label = next(file for file in files[1].edf.parent.glob(f"{files[1].edf.stem}.csv*"))
    label.write_text(label.read_text() + "# looked at again\n")
    again()
    store.put_findings("ab" * 16, 1, {"score": 1})  # of a key without a record: what gc takes
    gc(store, yes=True, grace_s=0)
    return location
