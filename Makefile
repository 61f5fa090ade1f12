# The only list of tasks: CI, hooks and people call these. `make` alone explains them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/event-mesh
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# uv from the PATH, else one of our own, installed with pip where there is none.
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv/bin/uv)
# The tree and the lock file decide what is installed, whatever the environment says.
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Run

.PHONY: run
run: install ## Start the whole mesh on this machine (8081 and 8090); ARGS go to `mesh up`
	@exec $(BIN)/mesh up $(ARGS)

.PHONY: demo
demo: install ## Load 2,000 people into a running mesh and show what each tenant sees
	@$(BIN)/mesh demo $(ARGS)

##@ Set up

.PHONY: install
install: .venv/.installed ## Install everything the project needs into .venv

.venv/.installed: $(UV) uv.lock pyproject.toml $(wildcard services/*/pyproject.toml) k8s-operator/pyproject.toml
	@$(UV) sync --all-packages --frozen --compile-bytecode --quiet
	@touch $@

$(CACHE)/uv/bin/uv:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed, python3 is $$(python3 --version 2>&1)" >&2; exit 1; }
	@echo "Installing uv into $(CACHE)/uv ..."
	@python3 -m venv $(CACHE)/uv \
	  || { echo "error: python3 has no venv module (on Debian: apt install python3-venv)" >&2; exit 1; }
	@$(CACHE)/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<0.14'

.PHONY: lock
lock: $(UV) ## Bring uv.lock up to date with the pyproject files
	@$(UV) lock

.PHONY: clean
clean: ## Remove what was installed and cached here (not the data in .mesh)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

##@ Check

.PHONY: check
check: install ## Everything that is not a test: format, lint, types, imports, lock file, documents
	@$(BIN)/ruff format --check --quiet . || { echo "error: run make format" >&2; exit 1; }
	@$(MAKE) --no-print-directory lint types imports
	@$(UV) lock --check --quiet || { echo "error: uv.lock is stale, run make lock" >&2; exit 1; }
	@$(BIN)/mesh docs --check
	@$(BIN)/python charts/generate.py --check

.PHONY: format
format: install ## Format the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

.PHONY: lint
lint: install ## Lint the code
	@$(BIN)/ruff check .

.PHONY: types
types: install ## Check the types
	@$(BIN)/mypy

.PHONY: imports
imports: install ## Check who may import whom
	@$(BIN)/lint-imports --no-cache > .import-contracts.log || { cat .import-contracts.log; rm .import-contracts.log; exit 1; }
	@tail -1 .import-contracts.log; rm .import-contracts.log

##@ Test

.PHONY: test
test: install ## Run every tier that this machine can serve, and name those it skips
	@[ -n "$${MESH_TEST_KAFKA:-}" ] || $(BIN)/python tests/kafka_broker.py
	@[ -n "$${KUBEBUILDER_ASSETS:-}" ] || $(BIN)/python tests/kube_binaries.py
	@$(BIN)/python tests/chart_tools.py
	@$(PYTEST) tests/unit tests/contract tests/isolation tests/repo tests/charts tests/integration $(ARGS)
	@echo "Not run: tests/e2e (make cluster-up e2e), tests/tilt (make e2e-tilt), tests/bench (make bench)."

.PHONY: test-unit
test-unit: install ## Only the pure tests, in seconds
	@$(PYTEST) tests/unit $(ARGS)

.PHONY: test-contract
test-contract: install ## Only the behaviour suites of the ports, against every adapter
	@$(PYTEST) tests/contract $(ARGS)

.PHONY: test-isolation
test-isolation: install ## Only what one tenant may never see or do to another
	@$(PYTEST) tests/isolation $(ARGS)

.PHONY: test-integration
test-integration: install ## Only the tests with real processes
	@$(PYTEST) tests/integration $(ARGS)

.PHONY: bench
bench: install ## Measure everything in TARGETS and render docs/benchmarks.md
	@PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

##@ Images and charts

# What the images are made of, and are called; a mirror or a stand-in can take the place of any.
PYTHON_IMAGE ?= python:3.11-slim-bookworm
UV_IMAGE ?= ghcr.io/astral-sh/uv:0.9-python3.11-bookworm-slim
IMAGE_PREFIX ?= event-mesh
IMAGE_TAG ?= dev
# Further flags of docker build, as in DOCKER_BUILD_ARGS=--network=host.
DOCKER_BUILD_ARGS ?=
IMAGES := user-service ai-gateway tenant-operator
image-file = $(if $(filter tenant-operator,$(1)),k8s-operator,services/$(1))/Dockerfile

.PHONY: images
images: $(addprefix image-,$(IMAGES)) ## Build the three images, as event-mesh/NAME:dev (IMAGE_TAG)

image-%:
	@command -v docker >/dev/null || { echo "error: docker is not installed" >&2; exit 1; }
	@echo "$(IMAGE_PREFIX)/$*:$(IMAGE_TAG) ..."
	@DOCKER_BUILDKIT=1 docker build --quiet $(DOCKER_BUILD_ARGS) -f $(call image-file,$*) -t $(IMAGE_PREFIX)/$*:$(IMAGE_TAG) \
	  --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --build-arg UV_IMAGE=$(UV_IMAGE) \
	  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) . >/dev/null

.PHONY: charts
charts: ## Put the parts of the umbrella chart into it (charts/event-mesh/charts)
	@command -v helm >/dev/null || { echo "error: helm is not installed (https://helm.sh)" >&2; exit 1; }
	@helm dependency update charts/event-mesh --skip-refresh >/dev/null

##@ Cluster

.PHONY: cluster-up
cluster-up: ## Bring the mesh up on kind, or up to date (NODES=3: three replicas of everything)
	@kind/up

.PHONY: cluster-down
cluster-down: ## Remove that cluster
	@kind/down

.PHONY: forward
forward: ## Forward 8081 and 8090 of this machine to the mesh on kind, until Ctrl-C
	@kind/forward

.PHONY: up
up: ## Work on the mesh in the cluster, with Tilt: what is saved runs there
	@command -v tilt >/dev/null || { echo "error: tilt is not installed (https://tilt.dev)" >&2; exit 1; }
	@kind/up --only-cluster
	@tilt up $(ARGS)

.PHONY: e2e
e2e: install ## Prove the mesh on the cluster of make cluster-up, in some minutes: it kills pods
	@PYTHONPATH=tests $(BIN)/python tests/cluster.py
	@$(BIN)/python tests/chart_tools.py helm3 helm4
	@$(PYTEST) tests/e2e $(ARGS)

.PHONY: e2e-tilt
e2e-tilt: install ## Prove make up on kind: Tilt starts everything, and a saved file runs in the pods
	@command -v tilt >/dev/null || { echo "error: tilt is not installed (https://tilt.dev)" >&2; exit 1; }
	@kind/up --only-cluster
	@$(PYTEST) tests/tilt $(ARGS)

.PHONY: smoke
smoke: install ## A first proof of the mesh on whatever cluster kubectl points at
	@$(PYTEST) tests/e2e/test_smoke.py $(ARGS)

##@ Documents

.PHONY: docs
docs: install ## Write the documents that are generated from the code
	@$(BIN)/mesh docs
	@$(BIN)/python charts/generate.py
