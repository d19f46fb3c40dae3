# Two commands matter: `make demo` and `make test`. Both make their own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint types check bench soak deb rpm man constraints clean help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "eiderd needs Python 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo 'eiderd needs the venv module: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing eiderd and what it needs into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)  ## back up a live database, restore it by hand, compare
	@$(BIN)/eider demo

# Many tests wait for processes rather than for a processor: one worker more than there are. Which
# files are begun first is said in tests/conftest.py.
WORKERS ?= $(shell expr $$(nproc) + 1)

test: $(READY)  ## every test but the long campaigns
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY)  ## style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	@$(BIN)/mypy

check: lint types test  ## all three

bench: $(READY)  ## against tar, pigz, zstd, restic and borg; writes tests/bench/RESULTS.md
	@$(BIN)/python -m tests.bench.bench $(ARGS)

soak: $(READY)  ## live captures for MINUTES (default 10), counted
	@$(BIN)/python -m tests.real.soak --minutes $(or $(MINUTES),10) $(ARGS)

deb: $(READY)  ## a Debian package in dist/, for this Debian; DEBIAN=13 for another
	@$(BIN)/python packaging/system/build.py deb $(if $(DEBIAN),--debian $(DEBIAN)) $(ARGS)

rpm: $(READY)  ## the same as an .rpm
	@$(BIN)/python packaging/system/build.py rpm $(ARGS)

man: $(READY)  ## manual pages and shell completions in dist/man
	@$(BIN)/python packaging/system/manual.py dist/man

constraints: $(READY)  ## pin what is installed now
	@$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:  ## remove what make made
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
