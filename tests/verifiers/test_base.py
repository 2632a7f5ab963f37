"""What verifiers share, and what a new one has to state."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from tierwise.spec.call import Completion
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.verifiers.base import MOST_WORDS, BaseVerifier, accepted, rejected
from tierwise.verifiers.repository.check import RepositoryTests
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.task import Task, read_task

MEMBERS = {one.name: get_args(one.type)[0] for one in msgspec.structs.fields(CheckChoice)}


class Loud(BaseVerifier, frozen=True, kw_only=True):
    """The answer shouts."""

    kind = "loud"

    async def verify(self, completion: Completion):
        return accepted("loud") if completion.text.isupper() else rejected("not loud")


@pytest.mark.parametrize("name", MEMBERS)
def test_a_verifier_is_called_what_the_table_calls_it(name):
    assert issubclass(MEMBERS[name], BaseVerifier)
    assert MEMBERS[name].kind == name


def test_a_verifier_states_its_kind_and_its_judgement_and_inherits_the_rest():
    loud = Loud()
    assert (loud.is_ready, loud.decisive, loud.runs_code, loud.package) == (True, False, False, "")
    assert loud.key(Completion(text="<think>hm</think> HEY ")) == "HEY"
    assert loud.key(Completion()) is None
    assert asyncio.run(loud.verify(Completion(text="HEY"))).ok
    assert not asyncio.run(loud.verify(Completion(text="hey"))).ok


class Listed(BaseVerifier, frozen=True, kw_only=True):
    """The answer is in a file beside the workload."""

    kind = "listed"
    file: str

    def placed(self, folder: Path) -> Listed:
        if not (folder / self.file).is_file():
            raise SpecError(f"{self.file} is not there", field="file")
        return msgspec.structs.replace(self, file=str(folder / self.file))


class ListedChoice(CheckChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As the table with one more check."""

    listed: Listed | None = None


def test_a_check_says_where_its_own_files_are(tmp_path, monkeypatch):
    assert Loud().placed(tmp_path) == Loud()
    task = Task(id="a", messages=[{"role": "user", "content": "?"}], check=ListedChoice(listed=Listed(file="words")))
    monkeypatch.setattr(Reading, "read", lambda *_: task)
    reading = Reading()
    read_task({}, tmp_path, reading)
    assert [(one.field, str(one)) for one in reading.errors] == [("check.listed.file", "words is not there")]
    (tmp_path / "words").touch()
    assert read_task({}, tmp_path, Reading()).check.member == Listed(file=str(tmp_path / "words"))


def test_the_repository_of_a_task_is_beside_the_workload(tmp_path):
    commits = {"base": "0" * 40, "commit": "1" * 40}
    check = RepositoryTests(repository="history.git", **commits, tests="pytest", fail_to_pass=("test_a",))
    with pytest.raises(SpecError, match="keep it beside the tasks") as refused:
        check.placed(tmp_path)
    assert refused.value.field == "repository"
    (tmp_path / "history.git" / "objects").mkdir(parents=True)
    assert check.placed(tmp_path).repository == str(tmp_path / "history.git")


def test_a_verifier_without_a_judgement_is_a_mistake_of_its_author():
    with pytest.raises(NotImplementedError):
        asyncio.run(BaseVerifier().verify(Completion()))


def test_a_reason_is_short_enough_for_the_ledger():
    for verdict in (accepted("a" * 1000), rejected("a" * 1000)):
        assert len(verdict.why) == MOST_WORDS
    assert (accepted("", 0.7).score, rejected("", 0.2).score) == (0.7, 0.2)


def test_what_evaluates_the_words_of_a_model_says_so():
    assert {name for name, one in MEMBERS.items() if one.runs_code} == {
        "python_tests",
        "stdio",
        "livecodebench",
        "math_verify",
        "reasoning_gym",
        "repository_tests",
    }
