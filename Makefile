# `make help` lists what there is to make.

PYTHON ?= python3
URLS ?=
PEERS ?=
STORE ?=
SEEDS ?=
FIRST ?=
MINUTES ?=
SEED ?=
# Half of the suite waits, for leases and servers: two to a core of a small machine.
WORKERS ?= 4
# Where tests are that take long, so that nothing else is collected for them.
LONG := bench deploy docs end_to_end hosts kill simulation
BIN := .venv/bin
STAMP := .venv/.installed

# Only those that hold Python yet, for mypy refuses the others.
SOURCES = $(foreach dir,runtime tests examples handlers,\
	$(if $(shell find $(dir) -name '*.py' 2>/dev/null | head -n 1),$(dir)))

.DEFAULT_GOAL := help
.PHONY: help setup demo test long check verify format mirror bench simulate fuzz soak pin clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything that development needs

$(STAMP): pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

demo: $(STAMP) ## Run the demo: URLS='https://... https://...'
	$(BIN)/python -m examples.link_report_demo $(URLS)

test: $(STAMP) ## Run the test suite, with a sample of what takes long
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

check: $(STAMP) ## Lint, check the format, check the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(SOURCES)

long: $(STAMP) ## Run the tests that `make test` leaves out, as CI does after it: some minutes
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "long and not verify" $(LONG:%=tests/%)

# What takes hours: mutants looked for from nothing, other seeds, one in ten of all points to die at.
verify: check ## The whole of what `make test` takes a sample of: some hours: EVERY=10 SEEDS=20000
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --whole -m ""
	$(MAKE) --no-print-directory fuzz
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),20000) --first $(or $(FIRST),10000)
	$(BIN)/python -m tests.kill --all --every $(or $(EVERY),10)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

format: $(STAMP) ## Format, and repair what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

mirror: $(STAMP) ## Make the clients for threads anew, of those for event loops
	$(BIN)/python -m tests.client.mirror

bench: $(STAMP) ## Measure: STORE=sqlite, postgres or dynamodb; PEERS='...' compares with other systems
	$(BIN)/python -m tests.bench --store $(or $(STORE),sqlite) $(PEERS)

simulate: $(STAMP) ## Run seeded simulations of crashes and lost messages: SEEDS=1000
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),2000)

fuzz: $(STAMP) ## Send the HTTP API what its document says, and what it does not: TIMES=50
	REWAKE_FUZZ=$(or $(TIMES),50) $(BIN)/python -m pytest -q --timeout 3600 tests/http/test_documented.py

soak: $(STAMP) ## Two servers under load and all kinds of harm: MINUTES=10 SEED=1
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

pin: ## Pin the newest versions of all dependencies in requirements-dev.txt
	rm -rf .venv-pin
	$(PYTHON) -m venv .venv-pin
	.venv-pin/bin/python -m pip install --quiet --editable '.[dev]'
	{ echo '# Made by `make pin`: every development dependency, at the version it was tested with.'; \
	  .venv-pin/bin/python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+=='; } > requirements-dev.txt
	rm -rf .venv-pin

clean: ## Remove everything that was made
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find runtime tests examples handlers -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
