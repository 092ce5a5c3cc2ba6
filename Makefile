# Two commands do everything on a fresh machine: `make demo` and `make test`. Needs Python 3.11 or 3.12, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DIR ?= tests/golden
PIP := PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: demo farm test cluster-test check bench golden ablate chaos clean

demo: $(VENV)/.core
	$(BIN)/farm demo

farm: $(VENV)/.core
	$(BIN)/farm up

test: check
	env -u KUBECONFIG $(BIN)/python -m pytest -n 2 --dist loadfile

# Changes the cluster that KUBECONFIG names, and leaves it as it was: k8s/README.md says what it makes there.
cluster-test: $(VENV)/.dev
	$(BIN)/python -m pytest -n0 -m cluster tests/cluster

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python scripts/bench.py $(ONLY)

golden: $(VENV)/.dev
	$(BIN)/python scripts/golden.py $(DIR)

ablate: $(VENV)/.dev
	$(BIN)/farm ablate

chaos: $(VENV)/.dev
	$(BIN)/farm chaos --board docs/chaos.md

$(VENV)/.core: requirements/core.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { echo "avatar-farm needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.11 demo"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --no-deps -r requirements/core.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core requirements/dev.lock
	$(PIP) --no-deps -r requirements/dev.lock
	touch $@

clean:
	rm -rf out .farm
