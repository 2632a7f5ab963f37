"""Other packages add policies and verifiers; what they get wrong is told to whoever names it, and to nobody else."""

from __future__ import annotations

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

POLICIES = {"first": "my:First", "single": "my:First", "lacking": "my:Lacking", "thawed": "my:Thawed",
            "plain": "my:Plain", "gone": "nowhere:X"}  # fmt: skip

CONFIG = """
deployments:
  far: {{engine: http, url: "http://127.0.0.1:9/v1", model: m}}
tiers:
  one: {{deployment: far, policy: {policy}}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "my.py").write_text(MODULE)
    install(folder, "my", {"tierwise.policies": POLICIES, "tierwise.verifiers": {"short": "my:Short"}})
    return folder


def install(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [line for group, one in groups.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in one.items()))]
    (about / "entry_points.txt").write_text("\n".join(lines))


def check(site: Path, folder: Path, policy: str) -> tuple[int, str]:
    """What `tierwise check` says of a tier with this policy, in a process that sees the packages of `site`."""
    (folder / "tierwise.yaml").write_text(CONFIG.format(policy=policy))
    program = f"import sys; sys.path.insert(0, {str(site)!r}); from tierwise.cli import main; main()"
    command = [sys.executable, "-c", program, "check", str(folder / "tierwise.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"COLUMNS": "300"})
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
