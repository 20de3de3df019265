# One command each, for people and for CI. The first target that runs makes .venv.
#   make demo TRACE=FILE KAFKA=host:port CLICKHOUSE=http://user:password@host:8123
#   make test ARGS='-k worker'      make PYTHON=python3.12 test

SHELL := /bin/sh
PYTHON ?=
PROCESSES ?= 3 # of the tests: most wait for a server. More need more memory (1.5 GB each)
VENV := .venv
READY := $(VENV)/ready-$(notdir $(PYTHON))
BIN := $(VENV)/bin
UV := $(BIN)/python -m uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --no-header \
	--no-annotate --no-emit-index-url pyproject.toml

# Given in the environment, an address with a password is in no list of processes, and the shell
# reads no quote or blank of a value as its own.
export TRACE KAFKA CLICKHOUSE
SERVERS := $(if $(KAFKA),USAGEPIPE_KAFKA="$$KAFKA") \
	$(if $(CLICKHOUSE),USAGEPIPE_CLICKHOUSE="$$CLICKHOUSE")

.PHONY: help demo test chaos bench lint requirements

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(READY) ## Run the whole pipeline on a trace of requests; TRACE, KAFKA, CLICKHOUSE to choose
	@$(SERVERS) $(BIN)/usagepipe demo $(if $(TRACE),--trace "$$TRACE") $(ARGS)

# Compiled modules are kept: without them each program that a test starts compiles its own again.
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY) ## Run all tests, against real servers
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadgroup --no-loadscope-reorder $(ARGS)

chaos: $(READY) ## Kill, pause and cut workers, Kafka and ClickHouse for long; CHAOS_SEEDS=20
	CHAOS_SEEDS=$${CHAOS_SEEDS:-20} $(BIN)/pytest tests/acceptance/test_chaos.py \
		tests/acceptance/test_clickhouse_faults.py $(ARGS)

bench: $(READY) ## Measure the worker against its peers, 25 minutes; EVENTS=200000 ROUNDS=3 FOLDER=/tmp
	$(BIN)/python -m benchmarks $(if $(EVENTS),--events $(EVENTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(FOLDER),--folder "$(FOLDER)") --page docs/benchmarks.md $(ARGS)

lint: $(READY) ## Check style, types, import directions and the list of versions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@cp requirements.txt $(VENV)/requirements.txt
	@$(COMPILE) --output-file $(VENV)/requirements.txt
	@diff -u requirements.txt $(VENV)/requirements.txt || \
		{ echo "requirements.txt is behind pyproject.toml: run make requirements" >&2; exit 1; }

requirements: $(READY) ## Bring requirements.txt in step with pyproject.toml; ARGS=--upgrade for newer
	$(COMPILE) $(ARGS) --output-file requirements.txt

$(READY): requirements.txt pyproject.toml scripts/set-up
	@scripts/set-up "$(VENV)" "$(PYTHON)"
	@touch $@
