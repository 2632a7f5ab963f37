"""Workload directories, and files with a header: shared keys, arrival and source."""

from __future__ import annotations

import base64
import hashlib

import msgspec
import pytest

from scripted_tiers import line
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.workloads import files
from tierwise.workloads.files.header import SuitePin, WorkloadHeader
from tierwise.workloads.files.write import write
from tierwise.workloads.suites import SuiteChoice

PNG = b"\x89PNG\r\n\x1a\n and some pixels"


@pytest.fixture
def folder(tmp_path):
    """Writes `workload.yaml`, tasks and images; returns the directory."""

    def write_folder(yaml, *tasks, **images):
        for name, raw in images.items():
            (tmp_path / f"{name}.png").write_bytes(raw)
        (tmp_path / "workload.yaml").write_text(yaml)
        if tasks:
            (tmp_path / "tasks.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(tasks))
        return tmp_path

    return write_folder


def errors_of(path):
    with pytest.raises(ConfigErrors) as caught:
        files.load(path)
    return [f"{error.field}: {error}" for error in caught.value.errors]


def seeing(image):
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": image}}]
    return {**line("a"), "messages": [{"role": "user", "content": parts}]}


def test_what_tasks_share_stands_once(folder):
    path = folder(
        "checks: {four: {number: {equals: 4}}}\ndefaults: {check: four, max_tokens: 9, tags: [sums]}\n",
        {"id": "a", "messages": [{"role": "user", "content": "2+2?"}]},
        {"id": "b", "messages": [{"role": "user", "content": "2+3?"}], "check": {"number": {"equals": 5}}, "tags": []},
    )
    a, b = files.load(path).tasks
    assert (a.check.number.equals, a.max_tokens, a.tags) == (4, 9, ["sums"])
    assert (b.check.number.equals, b.max_tokens, b.tags) == (5, 9, [])


def test_the_file_itself_may_be_named_instead_of_its_folder(folder):
    path = folder("name: sums\n", line("a"))
    assert files.load(path / "workload.yaml").name == "sums"


def test_how_tasks_arrive_is_said_in_the_words_of_the_command_line(folder):
    path = folder("arrival: trace:times.txt\nconcurrency: 3\nwarm_up: 5\n", line("a"))
    (path / "times.txt").write_text("0\n1.5\n")
    found = files.load(path)
    assert (found.arrival, found.header.concurrency, found.header.warm_up) == (f"trace:{path / 'times.txt'}", 3, 5)


def test_everything_that_is_wrong_is_said_at_once_with_its_file_and_line(folder):
    path = folder(
        "arrival: sometimes\ndefaults:\n  max_tokenz: 3\n  max_tokens: many\nchecks:\n  number: {number: {}}\n",
        line("a"),
    )
    said = errors_of(path)
    assert any(
        one.startswith("workload.yaml:3: defaults.max_tokenz: is not a task key that can have a default; did you mean")
        for one in said
    )
    assert any(one.startswith("workload.yaml:4: defaults.max_tokens") for one in said)
    assert any(
        one.startswith("workload.yaml:6: checks.number: 'number' is the name of a built-in check") for one in said
    )


def test_a_way_to_arrive_that_nobody_knows_is_refused_with_its_line(folder):
    (said,) = errors_of(folder("name: x\narrival: poisson:0\n", line("a")))
    assert said.startswith("workload.yaml:2: arrival: '0' is not a rate")


def test_a_shared_check_that_does_not_compile_is_said_once(folder):
    path = folder("checks:\n  bad: {regex: {pattern: '('}}\ndefaults: {check: bad}\n", line("a"), line("b"))
    assert [one.split(": ")[0] for one in errors_of(path) if "does not compile" in one] == ["workload.yaml:2"]


def test_a_folder_without_tasks_says_what_is_wanted(folder):
    (said,) = errors_of(folder("name: none\n"))
    assert said == "workload.yaml:1: there is no tasks.jsonl next to it; add one, or a `source` that makes tasks"


def test_an_image_beside_the_workload_is_sent_inside_the_request(folder):
    (task,) = files.load(folder("name: eyes\n", seeing("cat.png"), cat=PNG)).tasks
    sent = task.request()["messages"][0]["content"][1]["image_url"]["url"]
    assert sent == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("dog.png", "image 'dog.png' does not exist"),
        ("../cat.png", "is outside"),
        ("text.png", "is not in a supported image format; allowed: PNG, JPEG, GIF, WebP"),
    ],
)
def test_an_image_that_cannot_be_sent_is_an_error_with_its_line(folder, image, why):
    (said,) = errors_of(folder("name: eyes\n", line("b"), seeing(image), cat=PNG, text=b"hello"))
    assert said.startswith("tasks.jsonl:2: messages[0].content[1].image_url.url: ")
    assert why in said


def test_an_image_elsewhere_is_left_to_the_engine(write_tasks):
    (task,) = files.load(write_tasks(seeing("https://example.org/cat.png"))).tasks
    assert task.messages[0]["content"][1]["image_url"]["url"] == "https://example.org/cat.png"


def test_another_image_is_another_workload(folder):
    before = files.load(folder("name: eyes\n", seeing("cat.png"), cat=PNG)).sha256
    assert files.load(folder("name: eyes\n", seeing("cat.png"), cat=PNG + b"!")).sha256 != before


def test_tools_options_clusters_and_weights_stand_in_a_task(write_tasks):
    tool = {"type": "function", "function": {"name": "add"}}
    more = {"tools": [tool], "options": {"temperature": 0}, "cluster": "repo-1", "weight": 2.5, "tags": ["x"]}
    (task,) = files.load(write_tasks({**line("a"), **more})).tasks
    assert task.request() == {"temperature": 0, "messages": task.messages, "tools": [tool]}
    assert (task.tags, task.cluster, task.weight) == (["x"], "repo-1", 2.5)


@pytest.mark.parametrize("options", [{"model": "x"}, {"seed": 1}, {"max_tokens": 3}])
def test_what_the_bench_decides_is_no_option(write_tasks, options):
    with pytest.raises(ConfigErrors, match="cannot be set in `options`"):
        files.load(write_tasks({**line("a"), "options": options}))


@pytest.mark.parametrize("weight", [0, -1])
def test_a_task_must_weigh_something(write_tasks, weight):
    with pytest.raises(ConfigErrors, match=r"tasks\.jsonl:1: weight"):
        files.load(write_tasks({**line("a"), "weight": weight}))


def test_a_workload_of_three_tasks_says_what_it_cannot_show(write_tasks):
    few = files.load(write_tasks(line("a"), line("b"), line("c")))
    (note,) = few.notes
    assert note.startswith("3 tasks: a share is accurate to ±37 points at best, and no difference between tiers can be")
    assert files.load(write_tasks(*(line(str(number)) for number in range(30)))).notes == ()


def test_an_answer_key_that_is_sent_along_is_noted(write_tasks):
    found = files.load(write_tasks(line("a", verifier={"number": {"equals": 4}}), line("b", verifier="number")))
    assert "1 tasks send their hidden answer as `verifier`, so the policy sees the answer key" in found.notes


def test_a_file_may_begin_with_what_its_tasks_share(write_tasks):
    header = {"workload": {"name": "sums", "warm_up": 2, "defaults": {"max_tokens": 5}}}
    found = files.load(write_tasks(header, line("a")))
    assert (found.name, found.header.warm_up, found.tasks[0].max_tokens) == ("sums", 2, 5)


def test_a_wrong_header_is_said_with_its_line(write_tasks):
    (said,) = errors_of(write_tasks({"workload": {"arival": "closed"}}, line("a")))
    assert said.startswith("tasks.jsonl:1: arival: unknown key; did you mean 'arrival'?")


@pytest.mark.parametrize("name", ["one.jsonl", "one"])
def test_what_is_written_is_read_back_the_same(write_tasks, tmp_path, name):
    found = files.load(write_tasks(line("a", tags=["x"]), line("b", max_tokens=3)))
    write(tmp_path / name, found.tasks, WorkloadHeader(name="copy", warm_up=4))
    back = files.load(tmp_path / name)
    assert (back.tasks, back.name, back.header.warm_up) == (found.tasks, "copy", 4)
    with pytest.raises(SpecError, match="already exists"):
        write(tmp_path / name, found.tasks)


def test_nothing_half_written_is_left_where_it_cannot_be_written(write_tasks, tmp_path):
    found = files.load(write_tasks(line("a")))
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="cannot write a workload to"):
        write(tmp_path / "file" / "one.jsonl", found.tasks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "tasks.jsonl"]


@pytest.mark.parametrize("name", ["made.jsonl", "made"])
def test_tasks_that_claim_a_source_must_be_those_that_it_made(write_tasks, tmp_path, name):
    found = files.load(write_tasks(line("a"), line("b")))
    pin = hashlib.sha256(files.encoded(found.tasks)).hexdigest()
    source = msgspec.convert({"human_eval": {}}, SuiteChoice)
    write(tmp_path / name, found.tasks, WorkloadHeader(source=source, made=SuitePin(version="1", sha256=pin)))
    assert len(files.load(tmp_path / name).tasks) == 2
    file = tmp_path / name if name.endswith("l") else tmp_path / name / "tasks.jsonl"
    file.write_text(file.read_text().replace("2+2?", "2+1?"))
    (said,) = errors_of(tmp_path / name)
    assert "the tasks differ from those that human_eval made" in said
