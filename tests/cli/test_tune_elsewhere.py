"""The copies of a config file that `tierwise tune` and `whatif` write work from the folder that they are in."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

import pytest
from msgspec import structs
from typer.testing import CliRunner

from ggufs import TEMPLATE, random_mixture
from made_tunings import CONFIG, recording
from tierwise import plan as planning
from tierwise.catalog import local_path, pull
from tierwise.certificate import certificates_of, mismatches
from tierwise.cli import app
from tierwise.plan import Plan
from tierwise.runs import machine as machines
from tierwise.runs.directory import RunDirectory
from tierwise.spec.paths import resolved

ENGINES = """
checkpoints:
  m: {source: file:parts/m.gguf, sha256: SHA}  # ours
deployments:
  small:
    engine: llama.cpp
    checkpoint: m
    context: 2048
    binary: ./bin/llama-server
    chat_template: parts/t.jinja  # with tools
    mmproj: parts/p.gguf
  large:
    engine: llama.cpp
    checkpoint: m
    context: 2048
    binary: bin/llama-server
    loras: {parts/a.gguf: 0.5, parts/b.gguf: 1}
    speculative: {kind: draft-simple, model: parts/d.gguf}
  unused: {engine: vllm, checkpoint: m, python: .venv-vllm/bin/python}
  heard: {engine: replay, recording: parts/r.jsonl}
tiers:
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `A`, which has a config file with every kind of path, its files and a pool, tuned into `B/C`."""
    found = tmp_path_factory.mktemp("whole")
    folder = found / "A"
    (folder / "parts").mkdir(parents=True)
    (folder / "bin").mkdir()
    model = random_mixture(folder / "parts" / "m.gguf")
    for name in ("p.gguf", "a.gguf", "b.gguf", "d.gguf"):
        (folder / "parts" / name).write_text(name)
    (folder / "parts" / "t.jinja").write_text(TEMPLATE + "{{ tools }}")
    (folder / "bin" / "llama-server").write_text("#!/bin/sh\n")
    (folder / "bin" / "llama-server").chmod(0o755)
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    text = ENGINES.replace("SHA", sha256) + CONFIG.partition("tiers:\n")[2]
    (folder / "tierwise.yaml").write_text(text)
    pool = recording(folder / "pool", 300, config=text)
    manifest = pool.read_manifest()
    source = structs.replace(manifest.config, path=str(folder / "tierwise.yaml"))
    pool.write_manifest(structs.replace(manifest, config=source, versions=machines.versions()))
    tuned(folder / "tierwise.yaml", folder, found / "B" / "C", "--pool", folder / "pool")
    return found


@pytest.fixture
def a(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`A` beside `B`, moved together to another place."""
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    asyncio.run(pull(planning.load(tmp_path / "A" / "tierwise.yaml").checkpoint("m")))
    return tmp_path / "A"


@pytest.fixture
def c(a: Path) -> Plan:
    """The copy in `B/C`."""
    return planning.load(a.parent / "B" / "C" / "tierwise.yaml")


def tierwise(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def tuned(file: Path, a: Path, out: Path, *more: object) -> Plan:
    pool = a / "pool"
    tierwise("tune", file, pool / "workload.jsonl", "--loss", "0.05", "--orders", "1", "--out", out, *more)
    return planning.load(out / "tierwise.yaml")


def differing(plan: Plan) -> list[str]:
    return mismatches(plan, certificates_of(plan))["auto"]


def test_the_copy_that_tune_writes_works_where_it_is_and_after_both_are_moved(a, c):
    before = planning.load(a / "tierwise.yaml")
    for section in ("checkpoints", "deployments"):
        assert resolved(c.file, c.path.parent)[section] == resolved(before.file, a)[section]
    assert "# with tools" in c.path.read_text()
    checked = tierwise("check", c.path)
    assert "the file is as certified" in checked
    assert "not on this machine" not in checked  # a pinned checkpoint is found by the hash that was seen in A
    assert local_path(c.checkpoint("m")) is not None


def test_the_certificate_holds_for_other_spellings_of_the_same_files_and_not_for_other_files(a, c):
    assert differing(c) == []
    text = c.path.read_text().replace("../../A/", f"{a}/")
    c.path.write_text(text)
    assert differing(planning.load(c.path)) == []
    back = a / "again.yaml"
    back.write_text(text.replace(f"{a}/", "").replace("certificate.json", "../B/C/certificate.json"))
    assert differing(planning.load(back)) == []
    tierwise("check", back)
    (a / "other").mkdir()
    shutil.copy(a / "parts" / "t.jinja", a / "other" / "t.jinja")
    back.write_text(back.read_text().replace("parts/t.jinja", "other/t.jinja"))
    assert differing(planning.load(back)) == []
    (a / "other" / "t.jinja").write_text(TEMPLATE)
    (said,) = differing(planning.load(back))
    assert said == "deployment 'small' has another file as `chat_template`"
    (a / "other" / "t.jinja").unlink()
    assert differing(planning.load(back)) == []  # `check` and `serve` say that it is missing


def test_copies_with_other_prices_work_where_they_are(a, c, tmp_path, monkeypatch):
    prices = tmp_path / "prices.yaml"
    prices.write_text("small: {prompt: 2, completion: 2}\nlarge: {prompt: 30, completion: 30}\n")
    monkeypatch.chdir(tmp_path)
    tierwise("whatif", c.path.parent, "--prices", prices, "--pool", a / "pool", "--out", "E/F/G")
    tierwise("whatif", "E/F/G", "--prices", prices, "--out", "H")
    for out in ("E/F/G", "H"):
        plan = planning.load(tmp_path / out / "tierwise.yaml")
        assert differing(plan) == []
        assert "the file is as certified" in tierwise("check", plan.path)
        assert "# ours" in plan.path.read_text()


def test_the_copy_is_tuned_on_the_pool_of_the_file_and_made_again_without_a_new_draw(whole, tmp_path):
    first = whole / "B" / "C"
    for more in (("--pool", whole / "A" / "pool"), ("--from", first)):
        plan = tuned(first / "tierwise.yaml", whole / "A", tmp_path / more[0] / "deep", *more)
        assert differing(plan) == []
        assert len(RunDirectory(whole / "A" / "pool").read_records()) == 2 * 300 * 4
        assert not (plan.path.parent / "pool").exists()
