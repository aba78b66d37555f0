# Each target makes the environment first, in .venv, if it is missing or out of date.
# It needs Python (3.10 to 3.13, with venv) and make.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH_STAMP := $(VENV)/.torch_installed
WORKERS_STAMP := $(VENV)/.workers_installed
DOCS_STAMP := $(VENV)/.docs_installed
QUICK_OUTPUT ?= build/benchmark-quick/boston
RESULTS := benchmarks/results

export KERAS_BACKEND ?= tensorflow

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

.PHONY: venv
venv: $(STAMP) ## Make .venv and install the package and all its extras in it

$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV): about 2 GB the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt setuptools
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

$(TORCH_STAMP): $(STAMP)
	@echo "Installing PyTorch into $(VENV): it may bring gigabytes with it"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --no-build-isolation --editable '.[dev,torch]'
	@touch $@

$(WORKERS_STAMP): $(TORCH_STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --no-build-isolation --editable '.[dev,workers]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint constraints.txt --no-build-isolation --editable '.[dev,docs]'
	@touch $@

# The tests on each of some backends. ARGS may select tests of some backends only: pytest
# ends with 5 if it selects none.
define on
	@selected=5; for backend in $(1); do \
	    KERAS_BACKEND=$$backend $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup \
	        $(2) $(ARGS) && status=0 || status=$$?; \
	    case $$status in 0) selected=0;; 5) ;; *) exit $$status;; esac; \
	done; exit $$selected
endef

.PHONY: test
test: $(STAMP) ## Run the tests on TensorFlow and JAX; ARGS="-k adam" goes to pytest
	$(call on,tensorflow jax)

.PHONY: test-all
test-all: $(STAMP) ## Run the long tests as well, and on NumPy
	$(call on,tensorflow jax numpy,-m 'not crash and not workers')

.PHONY: test-torch
test-torch: $(TORCH_STAMP) ## Install PyTorch, and run the tests on it
	$(call on,torch,-m 'not crash and not workers')

.PHONY: thorough
thorough: export HYPOTHESIS_PROFILE := thorough
thorough: $(TORCH_STAMP) ## Run all tests with many more drawn examples, for hours
	$(call on,tensorflow jax torch numpy,-m 'not crash and not workers')

.PHONY: crash
crash: $(STAMP) ## Kill runs and damage files at random moments and offsets: minutes
	$(BIN)/python -m pytest -m crash -rA tests/state $(ARGS)

.PHONY: workers
workers: $(WORKERS_STAMP) ## Train on many processes and on one, and kill some: ten minutes
	$(call on,tensorflow jax torch,-m workers tests/workers)

.PHONY: test-keras
test-keras: $(TORCH_STAMP) ## Run the tests on another Keras: VERSION=3.12.0, or VERSION=nightly
	@rm -rf build/keras
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    --target build/keras $(if $(filter nightly,$(VERSION)),--pre keras-nightly,keras==$(VERSION))
	PYTHONPATH=build/keras $(MAKE) test test-torch ARGS='$(ARGS)'

.PHONY: example-tensorflow
example-tensorflow: $(STAMP) ## Train on two workers of TensorFlow, of which one is killed
	$(BIN)/python examples/supervise.py 2 "$$(mktemp -d)" --kill-after-epoch 2

.PHONY: example-jax
example-jax: $(WORKERS_STAMP) ## Split a model over eight devices of JAX
	$(BIN)/python examples/jax_sharded.py "$$(mktemp -d)"

.PHONY: example-torch
example-torch: $(TORCH_STAMP) ## Train on two processes of PyTorch
	$(BIN)/python examples/torch_ddp.py

.PHONY: check
check: $(STAMP) ## Lint, check format, docstrings, types, layers and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pydoclint --quiet $(addprefix keras_textbook_opt/,adam.py layerwise.py momentum.py sgd.py)
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs/*.md docs/api/*.md keras_textbook_opt examples benchmarks/*.py
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/zizmor --offline --no-progress --quiet .

.PHONY: format
format: $(STAMP) ## Format the code and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(DOCS_STAMP) ## Build the documentation, strictly and offline, into build/site
	$(BIN)/python docs/build.py

.PHONY: docs-serve
docs-serve: $(DOCS_STAMP) ## Show the documentation in a browser, and again what changes
	$(BIN)/python docs/build.py --serve

.PHONY: benchmark
benchmark: $(STAMP) ## Run the Boston housing experiments, results to build/
	$(BIN)/python -m benchmarks boston $(ARGS)

.PHONY: benchmark-quick
benchmark-quick: $(STAMP) ## The same in short, results to QUICK_OUTPUT
	$(BIN)/python -m benchmarks boston --quick --output '$(QUICK_OUTPUT)' $(ARGS)

.PHONY: benchmark-steps
benchmark-steps: $(STAMP) ## Time one step of each optimizer, results to build/
	$(BIN)/python -m benchmarks steps $(ARGS)

.PHONY: benchmark-precision
benchmark-precision: $(STAMP) ## Train in 16 bits beside float32, results to build/
	$(BIN)/python -m benchmarks precision $(ARGS)

.PHONY: benchmark-workers
benchmark-workers: $(STAMP) ## Count the bytes that workers send, results to build/
	$(BIN)/python -m benchmarks workers $(ARGS)

.PHONY: results
results: $(STAMP) ## Run all of them anew into the committed results and the README
	$(BIN)/python -m benchmarks boston --output $(RESULTS)/boston
	$(BIN)/python -m benchmarks steps --output $(RESULTS)/steps
	$(BIN)/python -m benchmarks precision --output $(RESULTS)/precision
	$(BIN)/python -m benchmarks workers --output $(RESULTS)/workers
	$(BIN)/python -m benchmarks conformance --output $(RESULTS)/conformance
	$(BIN)/python -m benchmarks readme

.PHONY: clean
clean: ## Remove caches and build output
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove .venv as well
	rm -rf $(VENV)
