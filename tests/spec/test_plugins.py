"""Other packages add policies, verifiers and engines; an error in one is reported where its name is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import msgspec
from tierwise.spec.ask import Answer, Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.verifiers.base import BaseVerifier

class First(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    n: int = 2
    sets = frozenset()
    def most(self, at): return Budget(passes=self.n)
    def tiers(self): return ()
    async def solve(self, prompt, ask):
        done = await ask(Call(prompt=prompt))
        return Answer(completion=done.completion, chosen=done.number)

class Short(BaseVerifier, frozen=True, kw_only=True):
    most_words: int
    kind = "short"
    async def verify(self, completion):
        ok = len(completion.text.split()) <= self.most_words
        return Verdict(ok=ok, score=float(ok))

class Lacking(msgspec.Struct, frozen=True): pass
class Thawed(msgspec.Struct): pass
class Plain: pass
"""

ENGINES_MODULE = """
import msgspec
from tierwise import EngineRow
from tierwise.testing import ScriptedEngine

def row(settings):
    return EngineRow(
        settings=settings,
        title="Fixed",
        command=lambda settings, context: "(no process) says the same",
        build=lambda settings, name, context: ScriptedEngine("the same"),
    )

class Fixed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fixed", tag_field="engine"):
    words: int = 2
    slots: int = 4
    context = loads = remote = None
    def validate(self, checkpoints): return ()
    def unsupported(self, sampling): return ()

class Bare(msgspec.Struct, frozen=True, tag="bare", tag_field="engine"): pass
class Untagged(msgspec.Struct, frozen=True): pass
class Thawed(msgspec.Struct, tag="thawed", tag_field="engine"): pass

FIXED, BARE, UNTAGGED, THAWED = map(row, (Fixed, Bare, Untagged, Thawed))
"""

ENGINES = {
    "fixed": "eng:FIXED",
    "renamed": "eng:FIXED",
    "http": "eng:FIXED",
    "bare": "eng:BARE",
    "thawed": "eng:THAWED",
    "untagged": "eng:UNTAGGED",
    "rowless": "eng:Fixed",
    "gone": "nowhere:X",
    "exits": "leaving:X",
}

POLICIES = {"first": "my:First", "single": "my:First", "lacking": "my:Lacking", "thawed": "my:Thawed",
            "plain": "my:Plain", "gone": "nowhere:X"}  # fmt: skip

HTTP = 'engine: http, url: "http://127.0.0.1:9/v1", model: m'

CONFIG = """
deployments:
  far: {{{engine}}}
tiers:
  one: {{deployment: far, policy: {policy}}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "my.py").write_text(MODULE)
    install(folder, "my", {"tierwise.policies": POLICIES, "tierwise.verifiers": {"short": "my:Short"}})
    (folder / "eng.py").write_text(ENGINES_MODULE)
    (folder / "leaving.py").write_text("raise SystemExit(3)")
    install(folder, "eng", {"tierwise.engines": ENGINES})
    return folder


def install(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [line for group, one in groups.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in one.items()))]
    (about / "entry_points.txt").write_text("\n".join(lines))


def check(site: Path, folder: Path, policy: str = "single", engine: str = HTTP, **environment: str) -> tuple[int, str]:
    """What `tierwise check` says of a tier with this policy on this engine."""
    (folder / "tierwise.yaml").write_text(CONFIG.format(policy=policy, engine=engine))
    return tierwise(site, "check", str(folder / "tierwise.yaml"), **environment)


def tierwise(site: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """A command, in a process that sees the packages of `site`."""
    program = f"import sys; sys.path.insert(0, {str(site)!r}); from tierwise.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "300", **environment},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("policy", "passes"), [("first", 2), ("{first: {n: 3}}", 3)])
def test_a_policy_of_another_package_is_written_like_any_other(site, tmp_path, policy, passes):
    code, said = check(site, tmp_path, policy)
    assert (code, f"first   ≤ {passes}" in said) == (0, True), said


def test_a_verifier_of_another_package_is_written_like_any_other(site, tmp_path):
    assert check(site, tmp_path, "{best_of_n: {verifier: {short: {most_words: 3}}}}")[0] == 0
    code, said = check(site, tmp_path, "{best_of_n: {verifier: {short: {most_words: many}}}}")
    assert (code, "verifier.short.most_words: Expected `int`, got `str`" in said) == (2, True), said


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("lacking", "my 1.0 provides 'lacking', which cannot be used: Lacking lacks most, tiers, sets, solve"),
        ("thawed", "Thawed is not frozen; declare it with frozen=True"),
        ("plain", "is not a subclass of msgspec.Struct"),
        ("gone", "nowhere:X cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_one_that_does_not_keep_its_contract_is_named_with_the_reason(site, tmp_path, policy, why):
    code, said = check(site, tmp_path, policy)
    assert (code, why in said) == (2, True), said


def test_a_name_that_is_taken_stays_with_its_owner(site, tmp_path):
    code, said = check(site, tmp_path, "{single: {n: 3}}")
    assert (code, "tiers.one.policy.single.n: unknown key" in said) == (2, True), said


def test_a_name_that_two_packages_bring_is_nobodys(site, tmp_path):
    for name in ("one", "two"):
        install(tmp_path, name, {"tierwise.policies": {"twin": "my:First"}})
    (tmp_path / "my.py").write_text(MODULE)
    code, said = check(tmp_path, tmp_path, "twin")
    assert (code, "2 packages provide this name; uninstall all but one" in said) == (2, True), said


def test_an_engine_of_another_package_is_written_like_any_other(site, tmp_path):
    code, said = check(site, tmp_path, engine="engine: fixed, words: 3")
    assert (code, "(no process) says the same" in said) == (0, True), said
    code, said = check(site, tmp_path, engine="engine: fixed, words: many, wordz: 3")
    assert code == 2, said
    assert "deployments.far.words: Expected `int`, got `str`" in said
    assert "deployments.far.wordz: unknown key; did you mean 'words'?" in said


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        ("bare", "cannot be used: Bare lacks slots, context, loads, remote, validate, unsupported"),
        ("renamed", "cannot be used: declare Fixed with tag_field='engine', tag='renamed' and without array_like"),
        ("untagged", "cannot be used: declare Untagged with tag_field='engine', tag='untagged'"),
        ("thawed", "cannot be used: Thawed is not frozen; declare it with frozen=True"),
        ("rowless", "is not a tierwise.EngineRow"),
        ("gone", "nowhere:X cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("exits", "leaving:X cannot be imported: SystemExit: 3"),
    ],
)
def test_an_engine_that_cannot_be_used_is_named_with_its_package_and_the_reason(site, tmp_path, engine, why):
    code, said = check(site, tmp_path, engine=f"engine: {engine}")
    assert (code, f"there is no engine {engine!r}; eng 1.0 provides {engine!r}, which" in said) == (2, True), said
    assert why in said


def test_a_built_in_engine_keeps_its_name_and_works_beside_plugins_that_cannot_be_used(site, tmp_path):
    code, said = check(site, tmp_path)
    assert (code, "http://127.0.0.1:9/v1" in said) == (0, True), said


def test_doctor_lists_plugins_with_their_packages_and_what_is_wrong_with_them(site):
    code, said = tierwise(site, "doctor", "--json", "--quick")
    plugins = {one["what"]: one for one in json.loads(said) if one["seen"] in ("my 1.0", "eng 1.0")}
    assert code == 0
    assert {what for what, one in plugins.items() if one["state"] == "ok"} == {
        "engine fixed",
        "policy first",
        "verifier short",
    }
    taken = plugins["engine http"]
    assert (taken["state"], taken["cure"]) == ("warning", "the name is taken by a built-in of Tierwise; choose another")
    assert plugins["policy lacking"]["cure"] == "Lacking lacks most, tiers, sets, solve"


def test_plugins_can_be_disabled(site, tmp_path):
    code, said = check(site, tmp_path, engine="engine: fixed", TIERWISE_DISABLE_PLUGINS="1")
    assert (code, "plugins are disabled; unset $TIERWISE_DISABLE_PLUGINS" in said) == (2, True), said


def test_the_schema_has_the_usable_plugins_unless_they_are_disabled(site):
    code, said = tierwise(site, "check", "--schema")
    found = json.loads(said)["$defs"]
    assert (code, "Fixed" in found, "first" in found["PolicyChoice"]["anyOf"][0]["enum"]) == (0, True, True)
    code, said = tierwise(site, "check", "--schema", TIERWISE_DISABLE_PLUGINS="1")
    assert (code, "Fixed" in said) == (0, False)
