# One target a job. `make test` needs only Python 3.10+ and make: it makes its own virtual environment.
PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= 1
BIN     = $(VENV)/bin
PYTEST  = $(BIN)/python -m pytest

.PHONY: test lint build bench fuzz soak docs format clean

test: $(VENV)/.installed-$(TORCH) dist/tollama.pyz
	$(PYTEST) $(ARGS)

lint: $(VENV)/.installed-$(TORCH)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-$(TORCH)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Always rebuilt: a stale file would make the end-to-end tests lie.
.PHONY: dist/tollama.pyz
build dist/tollama.pyz: $(VENV)/.installed-$(TORCH)
	$(BIN)/python build_zipapp.py

bench: $(VENV)/.installed-$(TORCH) dist/tollama.pyz
	$(BIN)/python benchmarks/run.py

# Each target of tests/fuzz for so long, with new inputs; then every fault of the disk under a pull.
FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.installed-$(TORCH)
	$(BIN)/python -m pip install --quiet schemathesis
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTEST) tests/fuzz -q --timeout 0 $(ARGS)
	FAULTS=all $(PYTEST) tests/faults/test_store.py -q --timeout 0 $(ARGS)

SOAK_MINUTES ?= 20
soak: $(VENV)/.installed-$(TORCH) dist/tollama.pyz
	$(BIN)/python benchmarks/soak.py --minutes $(SOAK_MINUTES)
	$(BIN)/python benchmarks/kill_storm.py

# The pages of docs/ as a site in build/site.
docs: $(VENV)/.installed-$(TORCH)
	$(BIN)/python docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# torch goes first and alone, so that an index with CPU wheels can be chosen for it by pip's own settings.
$(VENV)/.installed-1: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e ".[dev,runner_torch]"
	touch $@

$(VENV)/.installed-0: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache
