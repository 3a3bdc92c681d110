"""One of many processes that write into one store at the same moment: `python store_writer.py STORE N START`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from helpers.store_values import arguments, catalog_of, meta_of, row_of, samples_of

from brainbrr.store.store import Store


def main(location: Path, n: int, start: float) -> None:
    shared, own = meta_of(3, 900), meta_of(1, 300 + n)
    time.sleep(max(0.0, start - time.time()))
    store = Store.create(location)
    puts = []
    for _ in range(3):
        for seed in range(4):
            put = store.put(samples_of(shared, seed=seed), **arguments(shared, source=f"shared {seed}"))
            puts.append([put.record.key, put.new_object, put.new_record])
    put = store.put(samples_of(own), **arguments(own, source=f"own {n}"))
    puts.append([put.record.key, put.new_object, put.new_record])
    generations = []
    for i in range(3):
        row = row_of(f"{n}/{i}.edf")
        published = store.publish(
            "demo", lambda latest, row=row: catalog_of([*(latest.rows.values() if latest else ()), row])
        )
        generations.append([published.seq, row.path])
    json.dump({"puts": puts, "generations": generations}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
