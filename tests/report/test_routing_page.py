"""The page about a mixture of experts."""

from __future__ import annotations

import base64
import struct
import zlib

from tierwise.mixture.load import Layer
from tierwise.moe.routed import Recording, RoutedPass
from tierwise.moe.routing_findings import findings
from tierwise.report.heat import picture
from tierwise.report.routing_page import page
from tierwise.runs.directory import ConfigSource, SourceFile
from tierwise.runs.durations import Durations
from tierwise.spec.routing import Routing

ABOUT = Recording(
    began="2026-11-22T00:00:00+00:00",
    config=ConfigSource(path="c.yaml", sha256="", text=""),
    workload=SourceFile(path="<w>.jsonl", sha256="ab"),
    tier="fast",
    deployment="only",
    engine="transformers",
    command="run <this>",
    facts={"version": "5.23"},
    tasks=24,
)


PASSES = [
    RoutedPass(
        task=f"t{number}",
        tags=["code" if number % 2 else "text"],
        number=0,
        began=float(number),
        first_token=0.1,
        seconds=1.0,
        gaps=Durations.of([0.01, 0.02]),
        prompt_tokens=5,
        completion_tokens=3,
        routing=Routing(source="transformers", layers=[0], counts=[[90, 10]], tokens=50, active=2, entropy=[0.6]),
    )
    for number in range(24)
]


def test_the_page_is_one_offline_file_and_escapes_what_others_wrote():
    text = page(ABOUT, findings(PASSES))
    assert "data:image/png;base64," in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert ("run &lt;this&gt;" in text, "<w>" in text) == (True, False)


def test_the_picture_has_a_pixel_for_every_expert_and_white_is_an_equal_share():
    layers = [Layer(number=0, counts=counts, router_entropy=None) for counts in ([5, 5, 5, 5], [20, 0, 0, 0])]
    png = base64.b64decode(picture(layers).partition(",")[2])
    assert struct.unpack(">II", png[16:24]) == (4, 2)
    start = png.index(b"IDAT") + 4
    raw = zlib.decompress(png[start : start + struct.unpack(">I", png[start - 8 : start - 4])[0]])
    even, uneven = raw[1:13], raw[14:26]
    assert set(even) == {247}
    assert (uneven[:3], uneven[3:6]) == (bytes((178, 24, 43)), bytes((33, 102, 172)))
