"""Paths of a config file in a copy elsewhere, and what a certificate keeps of them."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from msgspec.inspect import type_info

from tierwise import plan as planning
from tierwise.engines import ENGINES
from tierwise.engines.llama_cpp.worker import Speculation
from tierwise.plan import Plan
from tierwise.spec.paths import places, rebased, resolved, without_folders
from tierwise.spec.signing import canonical

EVERY = """\
# ours
checkpoints:
  m: {source: "file:parts/m.gguf"}  # the model
  n: {source: [file:parts/n 1.gguf, "hf:o/r/f.gguf@1"]}
  o: {source: file:/x/o.gguf}
  p: {source: hf:o/r/f.gguf@1}
deployments:
  small:
    engine: llama.cpp
    checkpoint: m
    chat_template: 'parts/it''s.jinja'  # a template
    mmproj: &p parts/p.gguf
    binary: bin/llama-server
    loras:
      parts/a.gguf: 0.5  # one
      "parts/b: c.gguf": 1
    speculative: {kind: draft-simple, model: ./parts/d.gguf}
  named: {engine: llama.cpp, checkpoint: m, binary: llama-server, mmproj: *p, chat_template: ~/t.jinja}
  v: {engine: vllm, checkpoint: p, python: .venv-vllm/bin/python}
  s: {engine: sglang, checkpoint: p, python: /opt/bin/python}
  old: {engine: replay, recording: parts/r.jsonl}
tiers:
  fast: {deployment: small, policy: single}
  best: {deployment: named, policy: single}
routes:
  auto: {cascade: [fast, best], certificate: certs/auto.json}
"""
SPELLED = [
    "parts/m.gguf",
    "parts/n 1.gguf",
    "parts/it's.jinja",
    "parts/p.gguf",
    "bin/llama-server",
    "parts/a.gguf",
    "parts/b: c.gguf",
    "parts/d.gguf",
    "parts/p.gguf",
    ".venv-vllm/bin/python",
    "parts/r.jsonl",
    "certs/auto.json",
]
"""The relative ones."""


def parsed(text: str, folder: Path) -> Plan:
    return planning.parse(text, folder / "tierwise.yaml")


def copied(text: str, origin: Path, target: Path) -> str:
    return rebased(text, parsed(text, origin).file, origin, target)


def test_every_path_of_a_config_file_leads_to_the_same_file_from_the_copy(tmp_path):
    a, c = tmp_path / "A", tmp_path / "B" / "C"
    text = copied(EVERY, a, c)
    before, after = parsed(EVERY, a).file, parsed(text, c).file
    assert resolved(before, a) == resolved(after, c)
    changed = [one.text for one, old in zip(places(after), places(before), strict=True) if one.text != old.text]
    assert sorted(one.removeprefix("file:") for one in changed) == sorted(f"../../A/{of}" for of in SPELLED)
    kept = ("# ours", "# the model", "# a template", "# one", "&p ", "*p", "'../../A/parts/it''s.jinja'", "~/t.jinja")
    assert [one for one in kept if one not in text] == []
    assert copied(text, c, a) == EVERY.replace("./parts/d", "parts/d")


def test_moved_together_they_still_lead_there(tmp_path):
    text = copied(EVERY, tmp_path / "A", tmp_path / "A" / "tuned")
    there = tmp_path / "elsewhere"
    assert resolved(parsed(text, there / "tuned").file, there / "tuned") == resolved(parsed(EVERY, there).file, there)


def test_a_program_in_the_folder_of_the_copy_is_not_looked_up_on_path(tmp_path):
    text = copied(EVERY, tmp_path, tmp_path / "bin")
    assert parsed(text, tmp_path / "bin").file.deployments["small"].binary == "./llama-server"


def test_a_folder_above_a_link_is_the_one_that_the_system_means(tmp_path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "m.gguf").write_bytes(b"m")
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "link").symlink_to(tmp_path / "real" / "deep")
    (tmp_path / "far" / "out").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "far" / "out")
    text = copied(EVERY.replace("parts/m.gguf", "link/../m.gguf"), tmp_path / "A", tmp_path / "out")
    source = parsed(text, tmp_path / "out").file.checkpoints["m"].source
    assert (tmp_path / "out" / source.removeprefix("file:")).read_bytes() == b"m"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("other: &c {engine: llama.cpp, checkpoint: m, mmproj: !!str p.gguf}  # x\n  small: {<<: *c, slots: 2}", True),
        ("small: &c\n    engine: llama.cpp\n    checkpoint: m\n    mmproj: >-\n      p.gguf\n  other: *c", False),
        ('small: {engine: llama.cpp, checkpoint: m, "mmproj": "p.gguf"}  # x', True),
        ("small: {engine: llama.cpp, checkpoint: m, loras: {p.gguf: 1, q.gguf: 2}}  # x", True),
    ],
    ids=["tag and merge", "block scalar", "quoted", "keys in a flow"],
)
def test_however_it_is_written(tmp_path, written, kept):
    text = (
        f"checkpoints: {{m: {{source: file:m.gguf}}}}\ndeployments:\n  {written}\n"
        "tiers: {t: {deployment: small, policy: single}}\n"
    )
    out = tmp_path / "out"
    made = copied(text, tmp_path, out)
    assert resolved(parsed(made, out).file, out) == resolved(parsed(text, tmp_path).file, tmp_path)
    assert ("# x" in made) is kept


def test_every_setting_that_is_described_as_a_path_is_one():
    missing, found = [], []
    for kind in (*(row.settings for row in ENGINES.values()), Speculation):
        bases = [one for one in kind.__mro__ if one.__module__.startswith("tierwise.")]
        text = "".join(Path(inspect.getfile(one)).read_text() for one in bases)
        for field in type_info(kind).fields:  # type: ignore[attr-defined] # of a struct
            said = text.partition(f"\n    {field.name}: ")[2].split('"""')[1:2]
            if said and any(word in said[0].lower() for word in ("path of", "its path", "a path", "jsonl file")):
                (found if "'path'" in repr(field.type) else missing).append(f"{kind.__name__}.{field.name}")
    assert missing == []
    assert {"LlamaCpp.mmproj", "Vllm.python", "Speculation.model", "Replay.recording"} <= set(found)


def test_what_a_certificate_keeps_of_settings_does_not_depend_on_folders(tmp_path):
    text = copied(EVERY, tmp_path / "A", tmp_path / "B" / "C")
    one, other = (parsed(of, tmp_path).file.deployments for of in (EVERY, text))
    for name in one:
        said, files = without_folders(one[name], canonical(one[name]))
        again, others = without_folders(other[name], canonical(other[name]))
        assert said == again
        assert files.keys() == others.keys()
    said, files = without_folders(one["small"], canonical(one["small"]))
    assert said["loras"] == {"a.gguf": 0.5, "b: c.gguf": 1}
    assert files["speculative.model"] == "./parts/d.gguf"
    assert "binary" not in files


def test_files_of_the_same_name_stay_apart():
    text = EVERY.replace("parts/b: c.gguf", "more/a.gguf")
    small = parsed(text, Path()).file.deployments["small"]
    said, files = without_folders(small, canonical(small))
    assert said["loras"] == {"a.gguf": 0.5, "a.gguf 2": 1}
    assert files["loras.a.gguf 2"] == "more/a.gguf"
