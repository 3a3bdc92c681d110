# Every target is a thin line over the command line tool. `make demo` and `make test` need nothing but Python >= 3.11.

PYTHON ?= python3
VENV ?= .venv
DATA ?= data_ext4/tusz
INTO ?= .bench
BIN = $(VENV)/bin
# Where there is no NVIDIA driver, nobody downloads CUDA.
TORCH ?= $(shell if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null; then echo cuda; else echo cpu; fi)
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
SIZE_cpu = 200 MB and 900 MB more
SIZE_cuda = 3 GB and 6 GB more
SIZE_skip = left out
READY = $(VENV)/.ready$(if $(filter skip,$(TORCH)),-without-torch)
PIP = $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
BRAINBRR = $(BIN)/brainbrr

.PHONY: help setup demo quick slow test check look-check docs format cache-smoke cache-dev cache-full cache-upgrade release-store cache-status test-smoke newest bench bench-ingest bench-loader bench-model gpu parity digests tones torture

help:            ## show these lines
	@grep -E '^[a-z-]+: .*##|^[a-z-]+: *##' Makefile | sed 's/:[^#]*## /\t/' | expand -t 16

setup: $(READY)  ## virtual environment with pinned dependencies; TORCH=cpu, cuda or skip

$(READY): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what the tests need: 340 MB to download, 1.4 GB on the disk; with torch ($(TORCH)) $(SIZE_$(TORCH)). A few minutes."
ifeq ($(TORCH)$(shell uname -s),cpuLinux)
	$(PIP) --no-deps --retries 1 --timeout 10 --index-url $(CPU_INDEX) "$$(grep ^torch== constraints.txt)" \
		|| echo "$(CPU_INDEX) cannot be reached: taking torch from pip's own index, where it may bring CUDA (gigabytes)."
endif
	$(PIP) --editable '.[$(if $(filter skip,$(TORCH)),test,dev)]'
	@touch $@
	@echo "Ready. Next: $(BIN)/brainbrr init"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "brainbrr needs Python 3.11 or newer; say which: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what the first part needs: 60 MB to download, 250 MB on the disk. Less than a minute."
	$(PIP) --editable '.[demo]'
	@touch $@

demo: $(if $(wildcard $(READY)),,$(VENV)/.demo)  ## everything on a generated corpus, under .demo/
	$(BRAINBRR) demo --into .demo --part store
ifneq ($(TORCH),skip)
	@$(MAKE) --no-print-directory setup
	$(BRAINBRR) demo --into .demo --part training
endif

test: setup      ## all tests
	$(BIN)/python -m pytest -n 2

quick: setup     ## the tests that are not marked slow
	$(BIN)/python -m pytest -q -m "not slow"

slow: setup      ## names of the tests that make quick leaves out
	$(BIN)/python -m pytest -q -m slow --collect-only

newest:          ## a shorter set on Python 3.13 with the newest numpy and zarr
	bash .ci/newest

check: setup     ## format, lint, types, README commands
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_readme.py

look-check: setup ## the report's pages in Chromium: phone and desktop, light and dark; LOOK='page.html' takes others
	$(BIN)/python tests/helpers/browsing.py .look $(LOOK)

docs: setup      ## the documentation, as a site under .docs/
	$(BIN)/python docs/build.py .docs

format: setup    ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What a remote of the store has is copied, and only the rest is built; without DATA, all of it is pulled.
cache = if [ -d "$(DATA)" ]; then $(BRAINBRR) ingest "$(DATA)" --profile $(1) --copy; \
	else $(BRAINBRR) pull $(REMOTE) --profile $(1) || { echo "$(DATA) is not here to be built"; exit 1; }; fi

cache-smoke: setup    ## profile smoke: from the store's remotes, the rest from DATA
	@$(call cache,smoke)

cache-dev: setup      ## profile dev, in the same way
	@$(call cache,dev)

cache-full: setup     ## all of it, in the same way
	@$(call cache,full)

cache-upgrade: cache-full  ## from any profile to full: only the difference is copied and built

release-store: setup  ## store, archive and lock of generated recordings, as one publishes them, in .release/www
	$(BRAINBRR) demo --into .release --part store
	$(BRAINBRR) push .release/www/store --store .release/store
	$(BRAINBRR) lock --profile full --store .release/store -o .release/www/full.lock
	$(BRAINBRR) bundle --profile full --store .release/store -o .release/www/full.zip

cache-status: setup   ## what the store holds
	$(BRAINBRR) status

test-smoke: setup     ## train the smoke detector on what cache-smoke stored
	$(BRAINBRR) train --config smoke --profile smoke $(if $(CORPUS),--corpus $(CORPUS))

bench: setup     ## the benchmarks, with their peers
	$(BIN)/python benchmarks/bench_bytes.py
	$(BIN)/python benchmarks/bench_ingest.py
	$(BIN)/python benchmarks/bench_reingest.py

bench-ingest: setup   ## ingest against MNE, upstream and the limit; BENCH='--only tuned --rates 250'
	$(BIN)/python benchmarks/bench_ingest.py $(BENCH)

bench-loader: $(VENV)-peers/.ready  ## windows per second against the peers; BENCH='--only reader --quick', INTO=folder
	$(VENV)-peers/bin/python benchmarks/bench_loader.py --into "$(INTO)" $(BENCH)

$(VENV)-peers/.ready: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(VENV)-peers
	grep -v '^python-dateutil==' constraints.txt > $(VENV)-peers/constraints.txt
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(VENV)-peers/constraints.txt --requirement benchmarks/requirements.txt --editable '.[dev]'
	@touch $@

bench-model: $(VENV)-parity/.ready  ## the scans and a training step against their peers; BENCH='--quick'
	OMP_NUM_THREADS=1 $(VENV)-parity/bin/python benchmarks/bench_model.py $(BENCH)

gpu: setup       ## what only a GPU can answer, in ten minutes; rows go to benchmarks/gpu.md; DRY=1 tries it on a CPU
	$(BIN)/python benchmarks/gpu.py $(if $(DRY),--dry)

parity: $(VENV)-parity/.ready  ## our layers against mamba-ssm's own, its Triton kernels in the interpreter or on CUDA
	MAMBA_DETERMINISTIC=1 TRITON_INTERPRET=$$($(VENV)-parity/bin/python -c "import torch; print(int(not torch.cuda.is_available()))") \
		$(VENV)-parity/bin/python -m pytest tests/parity -rA --durations=5

$(VENV)-parity/.ready: pyproject.toml constraints.txt tests/parity/requirements.txt
	$(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train]'
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement tests/parity/requirements.txt
	MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE $(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps mamba-ssm==2.3.1
	@touch $@

digests: setup   ## the same digests under other BLAS kernels, numpys and Pythons
	$(BIN)/python tests/eeg/signal/digest_matrix.py --installs

tones: setup     ## what the filters do at each rate; TONES='--plot FILE.png'
	$(BIN)/python tests/eeg/signal/tones.py $(TONES)

torture: setup   ## all that can go wrong, at full length (one to two hours on 2 cores); prints the counts
	$(BIN)/python tests/torture/kill_points.py
	$(BIN)/python tests/torture/random_kills.py --kills 2000
	$(BIN)/python tests/torture/damages.py --damages 10000
	$(BIN)/python tests/torture/forgotten.py
	$(BIN)/python tests/torture/forgotten.py --elsewhere
	$(BIN)/python tests/torture/transfers.py
	BRAINBRR_TORTURE=1 $(BIN)/python -m pytest -q tests/share/test_faults.py tests/share/test_at_a_url.py
	$(BIN)/python tests/torture/stampede.py --processes 32
	$(BIN)/python tests/torture/disk_faults.py --writes
	$(BIN)/python tests/torture/disk_faults.py --sample 2000
	$(BIN)/python tests/torture/small_disks.py --full
	$(BIN)/python tests/torture/state_machine.py --runs 1000 --steps 50
	$(BIN)/python tests/torture/mutants.py --full
	$(BIN)/python tests/torture/stat_cache.py
	BRAINBRR_TORTURE=1 $(BIN)/python -m pytest -q -n 2 tests/fuzz
