# One virtual environment, made from nothing but Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OLDEST := 0.10.0

.PHONY: demo test test-all check matrix clean

demo: $(STAMP)  ## train a model that writes tunes; results in runs/music/
	$(BIN)/python -m experiments music $(ARGS)

test: $(STAMP)  ## tests of every promise, in minutes
	$(BIN)/python -m pytest -n 2 --dist worksteal -q $(ARGS)

test-all: $(STAMP)  ## before a release: the exhaustive tests too, more examples, the users' compiler
	XLA_FLAGS= $(BIN)/python -m pytest -n 2 --dist worksteal -q -m '' --hypothesis-profile=thorough $(ARGS)

check: $(STAMP)  ## format, lint, spelling, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/pyright
	$(MAKE) test

matrix:  ## the tests on the oldest and on the newest JAX that is supported (and PYTHON can run)
	$(MAKE) test VENV=.venv-oldest JAX='jax==$(OLDEST) jaxlib==$(OLDEST)'
	$(MAKE) test VENV=.venv-newest JAX='--upgrade jax jaxlib'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[experiments,dev]' $(JAX)
	touch $(STAMP)

clean:  ## removes what make made: environments, caches and builds; results in runs/ stay
	rm -rf $(foreach env,$(VENV) .venv-oldest .venv-newest,$(if $(wildcard $(env)/.installed),$(env)))
	rm -rf .cache build *.egg-info
