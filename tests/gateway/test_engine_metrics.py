"""What engines count themselves stands on our page, under our names and the deployments of the config file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from endpoints import tier_of
from tierwise.engines.metrics import MetricsPage
from tierwise.engines.vllm.metrics import METRIC_NAMES
from tierwise.testing import ScriptedEngine
from tierwise.testing.server import FakeServer, HttpReply, in_a_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.engines.engine import Health

TEXT = """vllm:num_requests_running{engine="0",model_name="small"} 3.0
vllm:num_preemptions_total{engine="0",model_name="small"} 7.0
vllm:secret_of_a_user{name="Ada"} 1.0
"""


@pytest.fixture
def page() -> Iterator[FakeServer]:
    with in_a_thread(FakeServer(HttpReply(body=TEXT.encode()))) as server:
        yield server


class Paged(ScriptedEngine):
    """Has a page of its own."""

    def __init__(self, page: MetricsPage) -> None:
        super().__init__("four")
        self.page = page

    def health(self) -> Health:
        return replace(super().health(), page=self.page)


def test_an_engines_own_counters_are_told_by_deployment_and_asked_once_in_a_while(serve, page):
    endpoint = serve(tier_of(engine=Paged(MetricsPage(url=page.url, names=METRIC_NAMES))))
    texts = [endpoint.request("GET", "/metrics").body.decode() for _ in range(3)]
    assert len(page.requests) == 1
    for text in texts:
        assert 'tierwise_engine_requests_running{deployment="tier"} 3.0' in text
        assert 'tierwise_engine_preemptions_total{deployment="tier"} 7.0' in text
        assert "Ada" not in text


def test_no_request_of_a_user_asks_an_engine_for_its_page(serve, page):
    endpoint = serve(tier_of(engine=Paged(MetricsPage(url=page.url, names=METRIC_NAMES))))
    endpoint.chat()
    assert page.requests == []


def test_an_engine_that_is_away_leaves_the_rest_of_the_page(serve):
    endpoint = serve(tier_of(engine=Paged(MetricsPage(url="http://127.0.0.1:1/metrics", names=METRIC_NAMES))))
    text = endpoint.request("GET", "/metrics").body.decode()
    assert "tierwise_deployment_up" in text
    assert "tierwise_engine_" not in text
