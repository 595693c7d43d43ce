# `make demo` and `make test` set up .venv by themselves where it is missing or stale.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
INSTALLED := $(VENV)/.installed

# Without compiled code, each program that tests start would compile the project again.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test faults docs lint types unit install clean

demo: $(INSTALLED)  ## the main job, from synthetic logs to a trained model, through DVC
	dvc repro
	fae summary datasets/demo --run runs/demo

test: lint  ## everything that CI checks; mypy beside the tests, which wait for processes at times
	$(MAKE) --jobs 2 types unit

faults: $(INSTALLED)  ## fault campaigns for an hour and more; ends with a table
	python -m faults

docs: $(INSTALLED)  ## run the code of README.md and docs/, and make the site in build/site
	python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	pytest -n 3 -m docs tests/project/test_documents.py
	mkdocs build --strict

lint: $(INSTALLED)
	ruff check
	ruff format --check
	hadolint docker/*.Dockerfile

types: $(INSTALLED)
	mypy

unit: $(INSTALLED)
	pytest -n 3 --dist worksteal  # three, as many tests wait for processes

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV); this takes a minute or two"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove what the demo made; .venv stays
	rm -rf work datasets runs metrics report dvc.lock .dvc/cache .dvc/tmp
