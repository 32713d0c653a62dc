# The one entry. `make` = lint + types + arrows + unit; `make run` a district in a minute; `make test` everything CI runs.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin
VENDOR := src/davy/console/static/vendor
# The tests cut the power themselves; where there is room in memory they need not wait for a real disk as well.
IN_MEMORY = $(shell [ "$$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 4000000 ] 2>/dev/null && echo --basetemp=/dev/shm/davy-tests-$$$$)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: all setup assets peers run test long bench fix lint types arrows unit lock docs clean

all: lint types arrows unit

setup: .venv/.ready
.venv/.ready: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older"; exit 1; }
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv || { sh .ci/peers python3-venv; $(PYTHON) -m venv --clear .venv; }
	@$(BIN)/python -m pip install -q --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

assets: setup $(VENDOR)/.ready
$(VENDOR)/.ready: package-lock.json | setup
	@$(BIN)/python -m davy.console.assets
	@test ! -f $(VENDOR)/htmx.min.js || touch $@

peers: ; @sh .ci/peers chromium golang-go golang-golang-x-mod-dev fonts-noto-cjk

run: setup assets
	@$(BIN)/davy demo

unit: setup
	$(BIN)/pytest -q tests/unit tests/property

test: setup assets peers lint types arrows
	$(BIN)/pytest tests -m "not long" $(IN_MEMORY)

long: setup assets peers
	$(BIN)/pytest tests -m long --timeout 36000
	$(BIN)/davy bench all --results docs/results

bench: setup
	$(BIN)/davy bench all

lint: setup
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests

types: setup
	$(BIN)/mypy

arrows: setup
	$(BIN)/lint-imports

fix: setup
	$(BIN)/ruff check --fix src tests
	$(BIN)/ruff format src tests

docs: setup
	$(BIN)/python -m davy.lab.papers

lock: setup
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate \
	  --group test --group lint --group lock --output-file requirements.txt pyproject.toml

clean:
	rm -rf .venv build dist demo
