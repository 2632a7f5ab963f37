"""Pages in a real Chromium: none of another origin can spend, and an allowed one reads answers, streams and headers."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from endpoints import HELLO, Endpoint, tier_of
from tierwise.gateway.access import access_of
from tierwise.testing import ScriptedEngine

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser here: none of {', '.join(NAMES)} is installed")

PAGE = """<!doctype html><body><iframe name="aside"></iframe><script>
const body = %(body)s, url = "%(url)s";
async function tried(options) {
  try {
    const answer = await fetch(url, options);
    return {status: answer.status, text: await answer.text(), headers: Object.fromEntries(answer.headers)};
  } catch (error) { return {error: String(error)}; }
}
async function main() {
  const seen = {};
  for (const kind of ["text/plain", "application/x-www-form-urlencoded", "application/json"])
    seen[kind] = await tried({method: "POST", body, headers: {"content-type": kind}});
  seen.blind = await tried({method: "POST", body, mode: "no-cors"});
  seen.beacon = navigator.sendBeacon(url, body);
  const form = document.createElement("form"), field = document.createElement("input");
  Object.assign(form, {method: "post", action: url, target: "aside", enctype: "text/plain"});
  Object.assign(field, {name: body.slice(0, -1), value: "}"});
  form.append(field); document.body.append(form); form.submit();
  await new Promise(done => setTimeout(done, 1000));
  document.body.textContent = "seen:" + JSON.stringify(seen) + ":end";
}
main();
</script>"""


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[str], str]:
    """Opens a URL in Chromium, in which every name means this machine, and gives what the page's text is in the end."""

    def opened(url: str) -> str:
        assert CHROMIUM is not None
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP *.example 127.0.0.1"]
        command = [CHROMIUM, *flags, "--virtual-time-budget=20000", "--dump-dom", url]
        command.insert(1, "--enable-logging=stderr")
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return html.unescape(done.stdout)

    return opened


class Site(ThreadingHTTPServer):
    """Serves a page of its own origin that tries to use an endpoint."""

    text = b""

    @property
    def origin(self) -> str:
        return f"http://page.example:{self.server_port}"

    def page_of(self, endpoint: Endpoint) -> str:
        """The URL of the page that tries to use this endpoint."""
        body = json.dumps(json.dumps({"model": "tier", "messages": HELLO, "stream": True}))
        url = f"http://127.0.0.1:{endpoint.port}/v1/chat/completions"
        self.text = (PAGE % {"body": body, "url": url}).encode()
        return f"{self.origin}/"


class Visit(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(self.server.text)))
        self.end_headers()
        self.wfile.write(self.server.text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(("127.0.0.1", 0), Visit) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


def seen_by(text: str) -> dict[str, Any]:
    found = re.search("seen:(.*):end", text, re.DOTALL)
    assert found, text
    return dict(json.loads(found[1]))


def test_a_page_of_another_origin_cannot_spend_in_any_way_that_a_browser_has(serve, browse, site):
    engine = ScriptedEngine("hi")
    endpoint = serve(tier_of(engine=engine))
    seen = seen_by(browse(site.page_of(endpoint)))
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json"):
        assert "Failed to fetch" in seen[kind]["error"]
    assert seen["blind"]["text"] == ""
    assert engine.calls == []
    assert endpoint.records == []


def test_a_page_of_an_allowed_origin_reads_streams_and_headers_and_still_must_send_json(serve, browse, site):
    engine = ScriptedEngine("hi there")
    endpoint = serve(tier_of(engine=engine), access=access_of(listens=["127.0.0.1"], origins=[site.origin]))
    seen = seen_by(browse(site.page_of(endpoint)))
    answer = seen["application/json"]
    assert answer["status"] == 200
    assert answer["text"].rstrip().endswith("data: [DONE]")
    assert answer["headers"]["x-tierwise-tier"] == answer["headers"]["x-tierwise-model"] == "tier"
    assert answer["headers"]["x-tierwise-action"]
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert seen[kind]["status"] == 415
    assert len(engine.calls) == 1


def test_a_name_that_an_attacker_points_to_this_machine_is_refused(serve, browse):
    endpoint = serve(tier_of())
    path = f"{endpoint.port}/v1/models"
    assert '"id":"tier"' in browse(f"http://127.0.0.1:{path}").replace(" ", "")
    refused = browse(f"http://rebound.example:{path}")
    assert "this endpoint is not called" in refused
    assert '"id"' not in refused
