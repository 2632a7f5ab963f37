"""A task of a workload: its messages, how its answer is graded, and its tags. A workload has one task per line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.gateway import wire
from tierwise.gateway.body import MOST_BYTES
from tierwise.spec.errors import SpecError
from tierwise.spec.files import decode_json_lines, read_bytes
from tierwise.spec.reading import Reading
from tierwise.verifiers import VerifierChoice
from tierwise.verifiers.pooled import check_sizes
from tierwise.workloads.checks import CheckChoice, missing_package
from tierwise.workloads.folders import folder_sha256
from tierwise.workloads.images import inline_images

if TYPE_CHECKING:
    from pathlib import Path

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]

_RESERVED = frozenset({"model", "messages", "n", "seed", "stream", "stream_options", "tierwise", "tools", "max_tokens"})
"""Request fields that the bench sets, or that have their own key in a task."""


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A prompt, and the check that decides whether its answer is correct, if there is one."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,80}$")]
    """Unique id, used in records and in the ledger: 1 to 80 characters."""
    messages: list[dict[str, Any]]
    """The conversation, in OpenAI's format. An image may be a path relative to the workload, sent as a `data:` URL."""
    check: CheckChoice | None = None
    """Grades the answer in the bench. The endpoint never sees it. None: nothing says whether an answer is right."""
    verifier: VerifierChoice | None = None
    """A verifier that the tier's policy may use on candidates. It is sent with the request, as a user would send it."""
    environment: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)] | None = None
    """The folder of a task in Harbor's format, relative to the workload: an agent works in its environment, and its
    tests grade."""
    environment_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    """Hash of the files of that folder; filled in when the task is read, and required to match where it is given."""
    tags: list[Tag] = []
    """Kinds of tasks. Results are also reported per tag, and samples are stratified by tags."""
    cluster: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    """What it shares with other tasks, such as a repository or conversation, so that their outcomes are correlated."""
    weight: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 1.0
    """Number of tasks of the population that it represents."""
    tools: list[dict[str, Any]] = []
    """Functions that the model may call, in OpenAI's format."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=wire.MOST_TOKENS)] | None = None
    """Maximum completion tokens per pass."""
    options: dict[str, Any] = {}
    """Other request fields, such as `temperature`, `response_format` or `stop`."""

    @property
    def is_graded(self) -> bool:
        """Whether something says whether an answer is right: a check, or the tests of its environment."""
        return self.check is not None or self.environment is not None

    @property
    def reveals_answer(self) -> bool:
        """Whether its `verifier` is its decisive `check`, so that the policy knows the correct answer."""
        if self.verifier is None or self.check is None or self.verifier.kind != self.check.kind:
            return False
        return self.check.member.decisive and self.verifier.member == self.check.member

    def request(self) -> dict[str, Any]:
        """The task's request fields, without the check."""
        fields: dict[str, Any] = {**self.options, "messages": self.messages}
        if self.tools:
            fields["tools"] = self.tools
        if self.max_tokens is not None:
            fields["max_tokens"] = self.max_tokens
        return fields


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload's tasks share."""

    defaults: Mapping[str, Any] = {}
    """Default values of task keys."""
    checks: Mapping[str, Any] = {}
    """Checks by name; a task's `check` may be one of the names."""


NOTHING_SHARED = Shared()


def read_task(value: Any, base: Path, reading: Reading, shared: Shared = NOTHING_SHARED) -> Task | None:
    """Read and check a task. Errors go to `reading`; the result is None if the value does not have a task's form.

    Args:
        value: the task's JSON value.
        base: the directory of its images.
        reading: collects errors.
        shared: defaults and checks of the workload.
    """
    if isinstance(value, dict):
        value = {**shared.defaults, **value}
        if isinstance(name := value.get("check"), str) and name in shared.checks:
            value["check"] = shared.checks[name]
    task = reading.read(Task, value, "")
    if task is None:
        return None
    task = msgspec.structs.replace(task, messages=inline_images(task.messages, base, reading))
    task = _with_place(task, base, reading)
    task = _with_environment(task, base, reading)
    _check_request(task, reading)
    if task.verifier is not None:
        try:
            check_sizes(msgspec.to_builtins(task.verifier))
        except ValueError as error:
            message, _, place = str(error).partition(" - at `$")
            reading.wrong(f"verifier{place.strip('`')}", message)
    for name, choice in (("check", task.check), ("verifier", task.verifier)):
        if choice is not None and not choice.member.is_ready:
            reading.wrong(f"{name}.{choice.kind}", f"has nothing to check with; give its `{choice.member.brought}`")
    if task.check is not None and (missing := missing_package(task.check)):
        reading.wrong(f"check.{task.check.kind}", missing)
    return task


def _with_place(task: Task, base: Path, reading: Reading) -> Task:
    """With a check whose paths are absolute."""
    if task.check is None:
        return task
    kind, member = task.check.kind, task.check.member
    try:
        placed = member.placed(base)
    except SpecError as error:
        reading.wrong(f"check.{kind}.{error.field}".rstrip("."), str(error))
        return task
    if placed is member:
        return task
    return msgspec.structs.replace(task, check=msgspec.structs.replace(task.check, **{kind: placed}))


def read_tasks(path: Path) -> list[Task]:
    """Read the tasks of a run's `workload.jsonl`, one complete task per line.

    Raises:
        NotFound: the file does not exist.
        SpecError: a line is not a task; the message names file and line.
    """
    return decode_json_lines(read_bytes(path, "workload"), Task, str(path))


def _with_environment(task: Task, base: Path, reading: Reading) -> Task:
    """The task with the hash of its environment, which must be there, and the only one that grades."""
    if task.environment is None:
        return task
    if task.check is not None:
        reading.wrong("check", "the task has an `environment`, whose tests grade it; leave one of them out")
    if not (base / task.environment / "task.toml").is_file():
        reading.wrong("environment", f"{task.environment!r} is no folder with a task.toml beside the workload")
        return task
    found = folder_sha256(base / task.environment)
    if task.environment_sha256 not in (None, found):
        reading.wrong("environment_sha256", f"the files of {task.environment!r} have changed: now it is {found}")
    return msgspec.structs.replace(task, environment_sha256=found)


def _check_request(task: Task, reading: Reading) -> None:
    """Check that the endpoint would accept the request."""
    for name in _RESERVED.intersection(task.options):
        reading.wrong(f"options.{name}", "cannot be set in `options`; `tools` and `max_tokens` are keys of the task")
    if not task.messages:
        reading.wrong("messages", "is empty; give at least one message")
        return
    body = msgspec.json.encode({"model": "any", **task.request()})
    if len(body) > MOST_BYTES:
        reading.wrong("", f"the request has {len(body) / 2**20:.1f} MiB; the limit is {MOST_BYTES / 2**20:.0f}")
        return
    try:
        wire.read(body)
    except SpecError as error:
        reading.wrong("", str(error))
