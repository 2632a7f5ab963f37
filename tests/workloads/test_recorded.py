"""Workloads of recorded actions: checks, redaction, and actions that are left out."""

from __future__ import annotations

import msgspec
import pytest

from tierwise.ledger.read import StoredContent
from tierwise.ledger.rows import ActionRow, ContentRow
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.workloads.files.recorded import from_ledger, trace_of
from tierwise.workloads.files.redact import Rule, read_rules, redactor


def kept(content="what is 6 × 7?", answer="It is 42.", *, action="act_1", at=1.0, message=None, **changes):
    fields = {"finish": "stop", "ending": "answered", **{k: v for k, v in changes.items() if k in ("finish", "ending")}}
    request = {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
        **{name: value for name, value in changes.items() if name not in fields},
    }
    row = ActionRow(
        **fields,
        id=action,
        started_at=at,
        model="auto",
        tier="fast",
        reason="",
        stream=True,
        seconds=1.0,
        first_output=0.1,
        why="",
        error="",
        caller="",
    )
    said = [message or {"role": "assistant", "content": answer}] if fields["ending"] == "answered" else []
    asked = msgspec.json.encode(request).decode()
    return StoredContent(action=row, content=ContentRow(request=asked, answers=msgspec.json.encode(said).decode()))


def built(*actions, check="judge:max", rules=None):
    return from_ledger(actions, check, rules or redactor())


def test_a_task_keeps_the_request_fields_that_affect_the_answer():
    tool = {"type": "function", "function": {"name": "add"}}
    asked = {"temperature": 0.5, "max_completion_tokens": 9, "tools": [tool], "stream_options": {}, "user": "ann"}
    (task,) = built(kept(**asked)).tasks
    assert (task.id, task.tags, task.max_tokens, task.options) == ("act_1", ["auto"], 9, {"temperature": 0.5})
    assert task.request()["tools"] == [tool]
    assert "ann" not in msgspec.json.encode(task).decode()


def test_a_judge_can_grade_recorded_actions():
    (task,) = built(kept()).tasks
    assert (task.check.judge.tier, task.check.judge.reference) == ("max", "")


def test_a_judge_can_see_the_recorded_answer():
    (task,) = built(kept(answer="<think>hm</think> It is 42."), check="agrees:max").tasks
    assert task.check.judge.reference == "It is 42."


def test_the_recorded_answer_is_the_reference_only_on_request():
    (task,) = built(kept(answer="Six times seven. The answer is 42."), check="recorded").tasks
    assert task.check.exact.equals == "42"


def test_the_check_can_be_the_requests_verifier():
    verifier = {"number": {"equals": 42}}
    found = built(kept(tierwise={"verifier": verifier}), kept(action="act_2"), check="request")
    assert [task.check.number.equals for task in found.tasks] == [42]
    assert found.left_out == {"the request has no verifier": 1}


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (kept(ending="failed", finish=""), "it has no complete answer"),
        (kept(finish="length"), "it has no complete answer"),
        (kept(answer="…"), None),
        (kept(answer=" . "), "its answer is empty"),
        (kept(message={"role": "assistant", "tool_calls": [{"id": "1"}]}), "its answer is a tool call"),
    ],
)
def test_an_action_without_a_comparable_answer_is_left_out_and_counted(action, why):
    found = built(action, check="recorded")
    assert [key.startswith(why) for key in found.left_out] == ([True] if why else [])


def test_a_failed_action_is_kept_if_a_judge_grades():
    assert len(built(kept(ending="failed", finish="")).tasks) == 1


def test_turns_of_one_conversation_are_one_cluster():
    more = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    turns = [*more, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "and now?"}]
    found = built(kept("hi"), kept(action="act_2", messages=turns), kept("bye", action="act_3"))
    first, second, third = (task.cluster for task in found.tasks)
    assert first == second != third


def test_tasks_are_in_the_order_of_their_start_times():
    found = built(kept(action="late", at=102.25), kept(action="early", at=100.0))
    assert [task.id for task in found.tasks] == ["early", "late"]
    assert trace_of(found.moments) == "0.000\n2.250\n"


def test_an_unknown_check_is_rejected_with_the_allowed_ones():
    with pytest.raises(SpecError, match="allowed: judge:TIER, agrees:TIER, recorded, request"):
        built(kept(), check="vibes")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("write to ann.lee+x@mail.example.org now", "write to [email] now"),
        ("call +49 (0)89 1234-5678 or (212) 555-0199", "call [phone] or [phone]"),
        ("call 212-555-0199", "call [phone]"),
        ("key sk-proj-abcdefghijklmnop1234", "key [key]"),
        ("AKIAABCDEFGHIJKLMNOP", "[key]"),
        ("Authorization: Bearer abcdefghijklmnop.qrst", "Authorization: [key]"),
        ("password = hunter22!", "[key]"),
        ("from 192.168.0.12 and 2001:db8:0:1:1:1:1:1", "from [ip] and [ip]"),
        ("what is 123456789 * 987654321?", "what is 123456789 * 987654321?"),
        ("on 2024-01-31 at 12:30:15, 1,234.50", "on 2024-01-31 at 12:30:15, 1,234.50"),
    ],
)
def test_secrets_are_redacted_and_plain_numbers_are_not(text, clean):
    assert redactor().text(text) == clean


def test_answers_and_options_are_redacted_and_images_are_not():
    rules = redactor()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AKIAABCDEFGHIJKLMNOP"}}
    asked = kept(content=[{"type": "text", "text": "a@b.org"}, image], answer="ask c@d.org", stop=["e@f.org"])
    (task,) = built(asked, check="agrees:max", rules=rules).tasks
    assert task.messages[1]["content"] == [{"type": "text", "text": "[email]"}, image]
    assert (task.check.judge.reference, task.options) == ("ask [email]", {"stop": ["[email]"]})
    assert rules.counts["emails"] == 3


def test_user_rules_apply_first(tmp_path):
    (tmp_path / "rules.yaml").write_text("built_in: [emails]\nrules: [{pattern: 'C-(\\d+)', replacement: '<\\1>'}]\n")
    assert read_rules(tmp_path / "rules.yaml").text("C-7 at a@b.org, 10.0.0.1") == "<7> at [email], 10.0.0.1"


def test_invalid_rules_are_reported_with_their_lines(tmp_path):
    (tmp_path / "rules.yaml").write_text("built_in:\n  - mails\nrules:\n  - {pattern: '(', replacement: x}\n")
    with pytest.raises(ConfigErrors) as caught:
        read_rules(tmp_path / "rules.yaml")
    said = [f"{error.field}: {error}" for error in caught.value.errors]
    assert said[0].startswith("rules.yaml:4: rules[0]: '(' does not compile")
    assert said[1].startswith("rules.yaml:2: built_in[0]: there is no built-in rule 'mails'; did you mean 'emails'?")
    with pytest.raises(NotFound):
        read_rules(tmp_path / "none.yaml")


def test_a_replacement_with_an_unknown_group_is_rejected():
    with pytest.raises(ConfigErrors, match="refers to group 3"):
        redactor(rules=[Rule(pattern="a", replacement=r"\3")])


def test_prompts_alone_are_tasks_without_a_check():
    (task,) = built(kept(), check="none").tasks
    assert task.check is None
