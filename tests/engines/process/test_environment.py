"""An engine's process has what it needs, and no secret of ours."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tierwise.engines import ENGINES
from tierwise.engines.process.environment import given, inherited
from tierwise.engines.process.supervisor import Launch, Supervisor
from tierwise.spec.errors import Broken

SECRETS = (
    "OPENAI_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GITHUB_TOKEN",
    "TIERWISE_LEDGER",
    "PGPASSWORD",
    "DATABASE_URL",
    "HTTPS_PROXY",
    "https_proxy",
    "SSH_AUTH_SOCK",
    "NETRC",
    "MY_SECRET",
    # within what is inherited otherwise
    "VLLM_API_KEY",
    "SGLANG_ADMIN_API_KEY",
    "LLAMA_API_KEY",
    "LLAMA_ARG_API_KEY",
    "CUDA_LICENSE_TOKEN",
    "NCCL_PASSWORD",
    "PYTHON_KEYRING_SECRET",
)
NEEDED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")


@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_inherits_a_secret_and_each_inherits_what_it_needs(engine):
    ours = dict.fromkeys((*SECRETS, *NEEDED), "x")
    assert set(inherited(ENGINES[engine].inherits, ours)) == set(NEEDED)


def test_an_engine_on_torch_finds_its_devices_and_caches():
    ours = dict.fromkeys(("NCCL_SOCKET_IFNAME", "HF_HOME", "TRITON_CACHE_DIR", "VLLM_ATTENTION_BACKEND"), "x")
    assert inherited(ENGINES["vllm"].inherits, ours) == ours
    assert inherited(ENGINES["llama.cpp"].inherits, ours) == {}


def test_a_deployment_sets_variables_and_null_stands_for_our_value():
    assert given({"A": "1", "HF_TOKEN": None, "B": None}, {"HF_TOKEN": "secret", "C": "3"}) == {
        "A": "1",
        "HF_TOKEN": "secret",
    }


def test_a_process_really_has_no_more_than_that(tmp_path, monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "hush")
    seen = tmp_path / "environment"
    program = f"open({str(seen)!r}, 'wb').write(open('/proc/self/environ', 'rb').read())"
    launch = Launch(
        command=(sys.executable, "-c", program), url="http://127.0.0.1:1", environment={"OURS": "1"}, inherits=("X_*",)
    )

    async def start() -> None:
        with pytest.raises(Broken):
            await Supervisor("small", lambda _: launch, logs=tmp_path).start()

    asyncio.run(start())
    content = Path(seen).read_bytes()
    assert b"hush" not in content
    assert b"OURS=1" in content.split(b"\0")
