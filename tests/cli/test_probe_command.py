"""`tierwise probe`, and what `tierwise check` makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

MODELS = {"object": "list", "data": [{"id": "m", "owned_by": "somebody", "max_model_len": 99}]}


class Plain(FakeServer):
    """Always says the same, whatever it is asked."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if request.target == "/v1/models":
            return HttpReply(body=json.dumps(MODELS).encode())
        return HttpReply(text="1, 2, 3") if request.method == "POST" else HttpReply(status=404, body=b"{}")


async def tierwise(folder: Any, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tierwise", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TIERWISE_CACHE": str(folder / "cache"), "COLUMNS": "200", **environment},
    )
    said, complained = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode(), complained.decode()


def test_a_probe_is_told_remembered_and_shown_by_check(tmp_path):
    async def main() -> None:
        async with Plain() as server:
            code, said, complained = await tierwise(tmp_path, "probe", server.url)
            assert (code, complained) == (0, "")
            assert "unknown server, model m" in said
            assert "- does not report cached tokens: prompts are priced as uncached" in said
            code, said, _ = await tierwise(tmp_path, "probe", server.url, "--json")
            assert json.loads(said)["findings"]["seed"]["verdict"] == "unseen"
            url = server.url
        file = tmp_path / "tierwise.yaml"
        file.write_text(
            f"deployments: {{far: {{engine: http, url: '{url}', model: m}}}}\n"
            "tiers: {fast: {deployment: far, policy: single}}\n"
        )
        code, said, _ = await tierwise(tmp_path, "check", str(file))
        assert "does not report cached tokens: prompts are priced as uncached; probed 20" in said
        file.write_text(file.read_text().replace("model: m", "model: other"))
        assert "cached tokens" not in (await tierwise(tmp_path, "check", str(file)))[1]

    asyncio.run(main())


def test_what_cannot_be_probed_is_said(tmp_path):
    async def main() -> None:
        code, _, complained = await tierwise(tmp_path, "probe", "http://127.0.0.1:1/v1")
        assert (code, "cannot be reached" in complained) == (1, True)
        code, _, complained = await tierwise(tmp_path, "probe", "here")
        assert (code, "'here' is not a URL" in complained) == (2, True)
        code, _, complained = await tierwise(tmp_path, "probe", "http://x/v1", "--api-key-env", "NOBODYS_KEY")
        assert (code, "NOBODYS_KEY is empty" in complained) == (2, True)

    asyncio.run(main())
