# make lab              create the environment if needed and open JupyterLab on the first notebook
# make lab HEADLESS=1   execute that notebook instead and print what its cells print
# make test             the gate: format, lint, import contracts, types, tests, notebooks, wheel
# make verify           everything: the slow tests too, and Binder's steps in a bare environment
# make bench            the benchmarks, as JSON lines
# make peers            other systems to compare with, in an environment of their own, .peers
#
# PYTHON=       the interpreter that creates the environment (3.11 or later)
# TORCH_INDEX=  an extra wheel index, used for torch alone

PYTHON ?= python3
TORCH_INDEX ?=
HEADLESS ?=
NOTEBOOK := notebooks/01-first-model.ipynb

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready

SANITIZE := --nbval --nbval-sanitize-with tests/nbval_sanitize.cfg
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: lab test verify bench peers lint system clean

lab: $(READY)
ifeq ($(HEADLESS),)
	$(BIN)/jupyter lab $(NOTEBOOK)
else
	$(BIN)/python notebooks/run.py $(NOTEBOOK)
endif

test: lint system
	$(PYTEST) -m "not slow or wheel" $(SANITIZE) tests notebooks

verify: lint system
	$(PYTEST) -m "" $(SANITIZE) tests notebooks

bench: $(READY)
	@for script in seed diagrams programs inference notebook; do $(BIN)/python -m benchmarks.$$script || exit 1; done

# Pyro runs on our torch, so it comes without what it requires.
peers: $(READY)
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip --disable-pip-version-check install -r benchmarks/peers/requirements.txt
	$(PIP) install --no-deps --target .peers/pyro-site -r benchmarks/peers/pyro.txt

lint: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/mypy

# What the tests look at pictures with. Whoever may install packages gets them; elsewhere the tests
# that need them are skipped, and say so.
system:
	@if command -v dot && { command -v chromium || command -v chromium-browser; }; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get; then \
		apt-get update -q && apt-get install -y -q chromium fonts-dejavu-core graphviz; \
	fi >/dev/null 2>&1 || echo "Chromium or Graphviz cannot be installed: some tests are skipped"

# The stamp is newer than what it was made from, so a second run of anything starts at once. An install
# copies the JupyterLab extension, so a change of it counts.
$(READY): requirements.txt pyproject.toml $(wildcard quivers_nb/labextension/* quivers_nb/labextension/static/*) | $(BIN)/pip
	$(PIP) install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
		"$$(grep '^torch==' requirements.txt)"
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "quivers-nb needs Python 3.11 or later; name one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) dist build
