# Every target sets up what it needs. `make run` and `make test` are the first two commands of the README.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Some tests wait for processes: with one worker more than there are cores, no core waits with them.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || sysctl -n hw.ncpu) + 1)

.PHONY: run test test-fast docs wheel bench bench-harness family chaos lint style types pytest setup clean

run: setup  ## the quick default: results/quickstart and reports/quickstart
	$(BIN)/metabench run --out results/quickstart
	$(BIN)/metabench report results/quickstart --out reports/quickstart --formats png

test: style  ## style, types, the site, tests: the last three side by side
	$(MAKE) --jobs pytest types docs

pytest: setup
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

test-fast: setup  ## the tests that are quick: for while you work
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not slow"

docs: setup  ## the documentation site, into site/; a warning is a failure
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

wheel:  ## build the wheel, install it in a fresh environment, and run and report with it
	tools/wheel.sh

bench: setup  ## the same work by metabench and others, side by side: benchmarks/results and docs/performance.md
	$(BIN)/python -m benchmarks

bench-harness: setup  ## what everything around the engine costs, and how an update grows with its size
	$(BIN)/python -m benchmarks.harness
	$(BIN)/python -m benchmarks.scaling

family: setup  ## every algorithm on four suites, hours: results/family, the table of docs/which-algorithm.md
	$(BIN)/metabench run --config benchmarks/family.toml
	$(BIN)/metabench run --config benchmarks/family-colour.toml --algos "$$($(BIN)/python -m benchmarks.family --algos)"

chaos: setup  ## kill, starve and hang trials at random; what is left must be what an undisturbed run leaves
	$(BIN)/python -m tests.end_to_end.chaos

lint: style types

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

setup: $(READY)

# learn2learn is the peer that we measure against. Its C files no longer compile, a current Cython makes them anew from
# its .pyx; and its metadata asks for gsutil and for qpth, which it does not need and which would hold numpy below 2.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --use-pep517 \
	  --config-settings=--global-option=build_ext learn2learn==0.2.0
	! $(BIN)/python -m pip check | grep -v -e '^learn2learn 0.2.0 requires' -e '^No broken'
	mkdir -p $(VENV)/mypy && ln -sfn $(CURDIR)/plugins $(VENV)/mypy/metabench_plugins
	touch $@

clean:
	rm -rf $(VENV) .bench build site *.egg-info .pytest_cache .mypy_cache .ruff_cache
