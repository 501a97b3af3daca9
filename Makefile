# Two commands matter: `make demo` and `make test`. Each sets everything up first, on a machine where nothing was installed by hand.
# GNU make 3.81 (macOS) is enough. PYTHON=python3.13 chooses the interpreter, NO_SYSTEM_PACKAGES=1 keeps apt-get and brew out.

VENV := .venv
BIN := $(VENV)/bin
SET_UP := $(VENV)/.set-up
DEPLOY_TOOLS := $(VENV)/.deploy-tools
OUT := demo-out

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types imports pytest deploy serve doctor tox wheels lock protos docs dashboards clean

help: ## say what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'

$(SET_UP): requirements.lock pyproject.toml hatch_build.py $(wildcard voicefsm/aec/native/*.[ch]) scripts/setup.sh scripts/python.sh
	@VENV=$(VENV) scripts/setup.sh
	@touch $@

setup: $(SET_UP) ## make .venv with everything in it

demo: $(SET_UP) ## hold a spoken conversation with barge-in on this machine; files in demo-out/
	$(BIN)/voicefsm demo --out $(OUT)

serve: $(SET_UP) ## run the gateway with the embedded backends
	$(BIN)/voicefsm serve --embedded

doctor: $(SET_UP) ## say what is wrong on this machine
	$(BIN)/voicefsm doctor

test: $(DEPLOY_TOOLS) check pytest ## everything CI runs: ruff, mypy, import-linter, pytest (generated files are compared there)

check: lint types imports

lint: $(SET_UP) ## ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(SET_UP) ## mypy --strict
	$(BIN)/mypy

imports: $(SET_UP) ## who may import whom
	$(BIN)/lint-imports

pytest: $(SET_UP) ## the tests alone
	$(BIN)/pytest

deploy: $(DEPLOY_TOOLS) ## render and validate deploy/, every combination, and print the matrix
	$(BIN)/python scripts/deploy.py

$(DEPLOY_TOOLS): $(SET_UP) deploy/requirements.lock deploy/kubectl.lock scripts/deploy_tools.sh scripts/kubectl.sh
	@BIN=$(BIN) STAMP=$@ scripts/deploy_tools.sh

tox: $(SET_UP) ## the tests on every Python 3.11-3.13 found here, and the checks
	$(BIN)/python scripts/matrix.py

wheels: $(SET_UP) ## prove that every locked package comes as a wheel, on every platform
	scripts/wheels.sh

lock: ## write requirements.lock anew (UPGRADE=1 for newer versions)
	scripts/lock.sh $(if $(UPGRADE),--upgrade)

protos: $(SET_UP) ## generate voicefsm/v1 from protos/
	$(BIN)/python scripts/generate.py protos

docs: $(SET_UP) ## generate the pages in docs/ that are generated
	$(BIN)/python scripts/generate.py docs

dashboards: $(SET_UP) ## generate deploy/monitoring/dashboards
	$(BIN)/python scripts/generate.py dashboards

clean: ## throw away what can be made again
	rm -rf $(VENV) .tox build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
