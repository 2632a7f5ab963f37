"""`tierwise init` against a real vLLM: the server that runs, and the folder that it was launched on."""

from __future__ import annotations

import pytest
import yaml

from tried import answers, tierwise

pytestmark = [pytest.mark.vllm, pytest.mark.model]


def test_a_real_vllm_gets_tiers_that_answer(vllm, tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))
    done = tierwise("init", "--url", vllm.url, "--seconds", "60", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((tmp_path / "tierwise.yaml").read_text())
    server = written["deployments"]["server"]
    assert (server["engine"], server["context"]) == ("vllm", 1024)
    assert written["tiers"]["max"]["policy"] == {"best_of_n": {"n": 4}}
    assert all(answers(tmp_path / "tierwise.yaml").values())


def test_its_folder_gets_a_file_that_checks(smollm2_folder, vllm_python, tmp_path):
    done = tierwise("init", "--checkpoint", smollm2_folder, "--python", vllm_python, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "with vllm on this machine" in done.stdout
    checked = tierwise("check", "tierwise.yaml", cwd=tmp_path)
    assert (checked.returncode, "--max-model-len 4096" in checked.stdout) == (0, True)
