"""`tierwise check` on deployments of servers that run already: what `drop` costs, and where the API is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread
from tried import tierwise


class Lists(FakeServer):
    """Lists its models under these paths alone."""

    def __init__(self, *pages: str) -> None:
        super().__init__()
        self._pages = pages

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if request.target in self._pages:
            return HttpReply(body=b'{"data": [{"id": "m"}]}')
        return HttpReply(status=404, body=b"{}")


def config(folder: Path, url: str, **settings: object) -> Path:
    file = folder / "tierwise.yaml"
    deployment = {"engine": "http", "url": url, **settings}
    tier = {"deployment": "large", "policy": "single"}
    file.write_text(json.dumps({"deployments": {"large": deployment}, "tiers": {"fast": tier}}))
    return file


def test_a_url_without_v1_is_tried_with_it(tmp_path):
    with in_a_thread(Lists("/v1/models")) as server:
        root = server.url.removesuffix("/v1")
        checked = tierwise("check", config(tmp_path, root), cwd=tmp_path)
        assert checked.returncode == 2
        assert f"deployments.large.url: the API is at {root}/v1; set url to that" in checked.stderr
        assert tierwise("check", config(tmp_path, f"{root}/v1"), cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("pages", [("/models", "/v1/models"), ()], ids=["right as it is", "no list at all"])
def test_a_url_without_v1_may_be_right(tmp_path, pages):
    with in_a_thread(Lists(*pages)) as server:
        file = config(tmp_path, server.url.removesuffix("/v1"))
        assert tierwise("check", file, cwd=tmp_path).returncode == 0


def test_a_server_that_is_down_is_not_judged(tmp_path):
    assert tierwise("check", config(tmp_path, "http://127.0.0.1:9"), cwd=tmp_path).returncode == 0


def test_every_dropped_field_has_its_price(tmp_path):
    file = config(tmp_path, "http://127.0.0.1:9/v1", drop=["seed", "stream_options", "x"])
    shown = tierwise("check", file, cwd=tmp_path).stdout
    assert "drop seed: answers cannot be repeated" in shown
    assert "drop stream_options: streams end without usage" in shown
    assert "drop x: requests that set it are answered without it" in shown


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"drop": ["messages"]}, "a request needs messages"),
        ({"drop": ["top_k"], "extra": {"top_k": 1}}, "top_k is also set under `extra`"),
    ],
)
def test_what_cannot_be_dropped_is_named(tmp_path, settings, words):
    checked = tierwise("check", config(tmp_path, "http://127.0.0.1:9/v1", **settings), cwd=tmp_path)
    assert checked.returncode == 2
    assert words in checked.stderr
