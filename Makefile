# Everything on one machine: `make serve`, `make test`. Each target makes what it
# needs on first use, in .venv; nothing outside of this folder is touched.

PYTHON ?= python3
PORT ?= 8000
HOME_DIR ?= twinjet-data
DATA ?=
VENV := .venv
BIN := $(VENV)/bin

# What the package is made of: another of these, another installation.
RECIPE := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help serve test torture audit lint types bench bench-encode bench-quality bench-reindex bench-search build constraints lock clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "make serve DATA=folder PORT=8000 HOME_DIR=twinjet-data"

serve: $(VENV)/.installed ## make or find data, build an index, serve http://127.0.0.1:8000
	@exec $(BIN)/twinjet up --home "$(HOME_DIR)" --port $(PORT) $(if $(DATA),--data "$(DATA)")

test: $(VENV)/.developed ## run every test, on all cores
	$(BIN)/pytest -n auto --maxprocesses 8

torture: $(VENV)/.developed ## the long form of the tests, and the fuzzers; hours
	$(BIN)/python benchmarks/torture.py $(if $(WRITE),--write)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[torture]'
	$(BIN)/python benchmarks/torture.py --fuzz $(or $(SECONDS_EACH),600) $(if $(WRITE),--write)

audit: $(VENV)/.developed ## safe versions, licences, faults that bandit knows; an SBOM, in dist/
	$(BIN)/pytest tests/test_supply_chain.py
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[audit]'
	$(BIN)/bandit --quiet --recursive -ll service index model
	sh .ci/sbom

lint: $(VENV)/.developed ## style and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.developed ## mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.developed ## how long answers take; DATA=folder for real galaxies
	$(BIN)/python benchmarks/latency.py $(if $(DATA),"$(DATA)")
	$(BIN)/python benchmarks/search/by_id.py $(if $(DATA),"$(DATA)")

bench-encode: $(VENV)/.developed ## how fast the encoder is on torch and on OpenVINO, and how alike
	$(BIN)/python benchmarks/encode.py "$(or $(DATA),../shared/data)" $(if $(WRITE),--write)

bench-quality: $(VENV)/.developed ## how good the encoders are; an hour with TUNE=1
	$(BIN)/python benchmarks/quality "$(or $(DATA),../shared/data)" $(if $(TUNE),--tuning-runs runs/quality --write)

bench-reindex: $(VENV)/.developed ## how fast catalogues are indexed, under load too
	$(BIN)/python benchmarks/reindexing.py "$(or $(DATA),../shared/data)"
	$(BIN)/python benchmarks/republishing.py "$(or $(DATA),../shared/data)"

bench-search: $(VENV)/.developed ## how fast vectors are found, beside other libraries and servers
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench-search]'
	$(BIN)/python benchmarks/search/compare.py "$(or $(DATA),../shared/data)" $(if $(WRITE),--write)

build: $(VENV)/.developed ## the wheel, in dist/
	rm -rf dist build
	$(BIN)/python -m build --wheel --outdir dist

constraints: ## write constraints.txt anew from what pip resolves today
	sh .ci/constraints

lock: $(VENV)/.developed ## write requirements.lock, the hashes of what the image installs
	$(BIN)/python .ci/lock

clean: ## remove the environment and what was built
	rm -rf $(VENV) dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  (3, 11) <= v <= (3, 13) or sys.exit("Twinjet needs Python 3.11 to 3.13; " + sys.executable \
	  + " is %d.%d: name another, as make PYTHON=python3.12 " % v + "$(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python $(RECIPE)
	@started=$$(date +%s); \
	$(BIN)/python -m pip install --quiet -c constraints.txt -e . && \
	touch $@ && echo "install $$(( $$(date +%s) - started )) s"

$(VENV)/.developed: $(BIN)/python $(RECIPE)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,train,bench]'
	@touch $@ $(VENV)/.installed
