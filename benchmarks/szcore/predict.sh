#!/bin/sh
# What SzCORE's platform calls: one recording below /data, its events to a table below /output. Needs no network.
# INPUT and OUTPUT are paths below these folders; RUN is a folder that `brainbrr train` wrote. DATA_DIR and OUTPUT_DIR
# are there for running it without a container.
set -eu
: "${INPUT:?INPUT names a recording below /data}" "${OUTPUT:?OUTPUT names a table below /output}"
table="${OUTPUT_DIR:-/output}/$OUTPUT"
mkdir -p "$(dirname "$table")"
exec brainbrr predict "${RUN:-/run-of-brainbrr}" "${DATA_DIR:-/data}/$INPUT" -o "$table" --overwrite
