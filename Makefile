# Two commands: `make book` writes the site to _build/html, `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: book test lint bench calibrate serve lock clean

book: $(INSTALLED)
	$(BIN)/stackbook build --all

test: lint
	$(BIN)/pytest -n logical --maxprocesses 4 --dist loadgroup

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/pytest tests/bench --benchmark-only --benchmark-group-by=group

# Refits the efficiencies of training and serving to what was measured, in data/published (10 minutes).
calibrate: $(INSTALLED)
	$(BIN)/python -m stackbook.validation.calibrate
	$(BIN)/python -m stackbook.validation.calibrate_serving

serve: $(INSTALLED)
	$(BIN)/stackbook serve

# Pins with hashes for every Python and platform, from pyproject.toml.
lock: $(INSTALLED)
	$(BIN)/uv pip compile --quiet --upgrade --universal --extra dev --generate-hashes \
	  --no-emit-index-url --no-header pyproject.toml --output-file requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; call make PYTHON=python3.11 (or newer)"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "error: $(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf _build dist .venv
