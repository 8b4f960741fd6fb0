# `make` lists what there is. `make run` and `make test` set up everything they need.
.DEFAULT_GOAL := help
.PHONY: help setup run up down ui test check browser lock clean

PY ?= $(shell command -v python3.11 || echo python3)
TORCH_ARGS ?=                # e.g. TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu" on a Linux laptop
BIN := .venv/bin
READY := .venv/.ready

# telemetry of every dependency off; nothing but registries is needed
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DVC_NO_ANALYTICS := 1
export PREFECT_HOME := $(CURDIR)/.prefect
export PATH := $(CURDIR)/$(BIN):$(PATH)

help:  ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY)  ## virtual environment and packages (run and test do it too)

$(READY): requirements.txt requirements-dev.txt requirements.lock pyproject.toml
	@echo "setting up .venv (2-5 minutes the first time)"
	@test -x $(BIN)/python || $(PY) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(TORCH_ARGS) torch==2.13.0 -c requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements-dev.txt -c requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check -q
	@touch $@

run: $(READY)  ## the main job: problems to before/after report, on the embedded starter problems and model
	@$(BIN)/greenlit run

up: $(READY)  ## Prefect, MLflow and the flows, served on this machine until `make down`
	@$(BIN)/python -m flows.up

down: $(READY)  ## end exactly what `make up` started
	@$(BIN)/python -m flows.up --down

ui: $(READY)  ## where `make up` put its pages, and the first one in a browser
	@$(BIN)/python -m flows.up --show

test: $(READY)  ## all tests (make test ARGS="-m 'not slow'" for the fast ones)
	@$(BIN)/python -m pytest -n logical --dist loadfile --no-loadscope-reorder $(ARGS)

browser:  ## Debian's Chromium for the tests of the pages, where it is missing and we are root
	@if command -v chromium >/dev/null; then echo "chromium is there"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y chromium >/dev/null; \
	else echo "no chromium, and no right to install it: the tests of the pages are skipped"; fi

check: $(READY)  ## formatting and lint
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

lock: $(READY)  ## resolve the requirements anew, CPU and GPU together, into requirements.lock
	@$(BIN)/python -m pip install -qq uv
	@UV_FIND_LINKS="$(PIP_FIND_LINKS)" $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links requirements-dev.txt requirements-gpu.txt -o requirements.lock.new
	@sed 's/+cpu//' requirements.lock.new > requirements.lock && rm requirements.lock.new

clean:  ## remove results and caches of runs; .venv and .dvc/cache stay
	@rm -rf .work results rounds assets mlruns mlartifacts mlflow.db .pytest_cache .ruff_cache .hypothesis
