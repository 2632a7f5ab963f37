"""Recording where the tokens of a workload go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from fake_runs import task
from tierwise import plan as planning
from tierwise.moe.routed import Recording, RecordingDirectory, RoutedPass, load_of, record, sampling_all
from tierwise.policies import Majority, Single
from tierwise.runs.directory import ConfigSource, SourceFile
from tierwise.spec.call import Chunk
from tierwise.spec.errors import Broken, NotFound, SpecError
from tierwise.spec.routing import Routing
from tierwise.testing import Reply, ScriptedEngine, frozen, new_trace, tier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tierwise.policies.policy import Policy
    from tierwise.spec.call import Call

CONFIG = """\
checkpoints: {{m: {{source: "file:m.gguf"}}}}
deployments: {{only: {{engine: {engine}}}}}
tiers: {{fast: {{deployment: only, policy: single}}}}
"""

ABOUT = Recording(
    began="2026-11-22T00:00:00+00:00",
    config=ConfigSource(path="c.yaml", sha256="", text=""),
    workload=SourceFile(path="w.jsonl", sha256=""),
    tier="fast",
    deployment="only",
    engine="transformers",
    command="",
    tasks=1,
)


class Telling(ScriptedEngine):
    """Sends a routing after the last word, as engines do."""

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        async for chunk in super().stream(call):
            yield chunk
        yield Chunk(routing=Routing(source="transformers", layers=[0], counts=[[2, 4]], tokens=3, active=2))


def recorded(engine: ScriptedEngine, policy: Policy, *names: str) -> tuple[list[RoutedPass], tuple[int, int]]:
    """The passes that were kept; the numbers of failed actions and of passes without routing."""
    kept: list[RoutedPass] = []
    tasks = [task(name, tags=[name[0]]) for name in names]
    done: list[tuple[int, int]] = []
    asked = record(
        new_trace,
        tier(policy, engine),
        tasks,
        seed=0,
        concurrency=2,
        keep=kept.append,
        on_progress=lambda *progress: done.append(progress),
    )
    found = frozen(asked)
    assert done[-1] == (len(names), found[0])
    return kept, found


def test_every_pass_is_kept_with_its_task_its_tokens_and_its_pauses():
    kept, found = recorded(Telling("one two three"), Single(), "a1", "b1")
    assert (found, [one.task for one in kept], [one.tags for one in kept]) == ((0, 0), ["a1", "b1"], [["a"], ["b"]])
    assert (kept[0].completion_tokens, kept[0].gaps.count) == (3, 2)
    assert kept[0].gaps.seconds == pytest.approx(0.02)
    assert list(load_of(kept).layers[0].counts) == [4, 8]


def test_all_passes_of_a_policy_are_kept_under_their_numbers():
    kept, _ = recorded(Telling("4"), Majority(n=3), "a1")
    assert [one.number for one in kept] == list(range(len(kept)))
    assert len(kept) >= 2


def test_a_pass_that_the_engine_did_not_tell_is_counted_and_not_made_up():
    assert recorded(ScriptedEngine("4"), Single(), "a1", "a2") == ([], (0, 2))


def test_a_task_that_fails_is_counted_and_the_others_go_on():
    engine = Telling(*[Reply(error=Broken("gone"))] * 3, "4")
    kept, (failed, _) = recorded(engine, Single(), "a1", "a2", "a3")
    assert failed == 3 - len(kept) == 1


def test_a_recording_reads_as_it_was_written_without_what_a_crash_cut_short(tmp_path):
    kept, _ = recorded(Telling("one two"), Single(), "a1", "a2")
    folder = RecordingDirectory.create(tmp_path / "new")
    folder.write(ABOUT)
    lines = msgspec.json.Encoder().encode_lines(kept)
    folder.passes_path.write_bytes(lines + b'{"task": "a')
    assert folder.read() == (ABOUT, kept)


def test_passes_without_routing_keep_the_key_of_older_recordings(tmp_path):
    folder = RecordingDirectory.create(tmp_path / "new")
    folder.write(msgspec.structs.replace(ABOUT, unreported=3))
    folder.passes_path.touch()
    assert json.loads((folder.path / "recording.json").read_bytes())["untold"] == 3
    assert folder.read()[0].unreported == 3


def test_a_folder_that_holds_something_is_not_written_to(tmp_path):
    (tmp_path / "note").touch()
    with pytest.raises(SpecError, match="is not empty; give a new folder to --out"):
        RecordingDirectory.create(tmp_path)


def test_a_folder_without_a_recording_is_named(tmp_path):
    with pytest.raises(NotFound, match=r"is not a recording: it has no recording\.json; give a folder"):
        RecordingDirectory(tmp_path).read()


def test_only_the_tiers_deployment_runs_and_every_pass_of_it_is_sampled():
    text = CONFIG.format(engine="transformers, checkpoint: m")
    (process,) = sampling_all(planning.parse(text, Path("c.yaml")), "fast").processes
    assert process.settings.experts_sampled == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("engine", "tier", "words"),
    [
        (
            "llama.cpp, checkpoint: m",
            "fast",
            "runs on llama.cpp, which does not report which experts it uses; these do: vllm, sglang, transformers",
        ),
        ("transformers, checkpoint: m", "max", "there is no tier 'max'; tiers: fast"),
    ],
)
def test_what_cannot_be_recorded_is_said_before_anything_runs(engine, tier, words):
    plan = planning.parse(CONFIG.format(engine=engine), Path("c.yaml"))
    with pytest.raises(SpecError, match=words):
        sampling_all(plan, tier)
