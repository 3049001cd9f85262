# Everything runs in .venv, made on first use; nothing is needed but Python >= 3.10, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := $(shell sed -n 's/^\(torch==.*\)/\1/p' constraints.txt)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test test-all check lint types sizes verify docs bench bench-linear bench-perplexity bench-embeddings bench-ranking bench-gpu clean

help:  ## what each target does
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

# torch first and by exact version: a range may bring another build.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'losskit needs Python >= 3.10; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt '$(TORCH)' numpy
	$(PIP) install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.runtime  ## which loss is right and why, on real data: tables here, curves in report.html
	@$(BIN)/losskit demo --html report.html

test: $(VENV)/.dev  ## the tests (minutes)
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: $(VENV)/.dev  ## the tests, the slow ones too
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ''

check: lint types sizes test  ## all that CI runs but the slow tests and the docs

lint: $(VENV)/.dev  ## ruff
	$(BIN)/ruff check --no-cache src tests benchmarks docs/conf.py docs/_ext tools
	$(BIN)/ruff format --check --quiet src tests benchmarks docs/conf.py docs/_ext tools

types: $(VENV)/.dev  ## pyright strict (basedpyright brings its own node), mypy --strict
	$(BIN)/basedpyright
	$(BIN)/mypy

sizes: $(VENV)/.dev  ## lines a file and a function, suppressions in the tree
	$(BIN)/python tools/sizes.py

verify: $(VENV)/.runtime  ## recompute the numbers our documents print (timings apart)
	$(BIN)/losskit verify

docs: $(VENV)/.dev  ## the documentation, into docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.dev  ## ours against torch, side by side, into benchmarks/results
	$(BIN)/python benchmarks/against_torch.py

bench-linear: $(VENV)/.dev  ## linear cross-entropy beside its peers on CPU (about 20 minutes)
	$(BIN)/python benchmarks/linear.py --shapes bars --table docs/guide/linear_cpu.md

bench-perplexity: $(VENV)/.dev  ## scoring tokens in tiles, by logits and by torch's chunked op (about 6 minutes)
	$(BIN)/python benchmarks/perplexity_scoring.py

bench-embeddings: $(VENV)/.dev  ## losses of embeddings beside dense forms and installed peers (about 8 minutes)
	$(BIN)/python benchmarks/embeddings.py

bench-ranking: $(VENV)/.dev  ## losses and metrics of lists beside dense forms and scikit-learn (about 8 minutes)
	$(BIN)/python benchmarks/ranking.py --table docs/guide/ranking_cpu.md
	$(BIN)/python benchmarks/ranking.py --threads 1

bench-gpu:  ## CUDA tests and benchmarks; WHEELS=folder of peers' wheels
	benchmarks/gpu.sh $(WHEELS)

clean:  ## remove what make made
	rm -rf $(VENV) docs/_build docs/losses docs/findings report.html
