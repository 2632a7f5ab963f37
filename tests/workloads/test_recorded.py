"""Recorded actions as a workload: what grades them, what is taken out, what is left out and why."""

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


def test_a_task_asks_what_was_asked_with_all_that_decides_the_answer():
    tool = {"type": "function", "function": {"name": "add"}}
    asked = {"temperature": 0.5, "max_completion_tokens": 9, "tools": [tool], "stream_options": {}, "user": "ann"}
    (task,) = built(kept(**asked)).tasks
    assert (task.id, task.tags, task.max_tokens, task.options) == ("act_1", ["auto"], 9, {"temperature": 0.5})
    assert task.request()["tools"] == [tool]
    assert "ann" not in msgspec.json.encode(task).decode()


def test_a_judge_decides_where_nobody_knows_the_answer():
    (task,) = built(kept()).tasks
    assert (task.check.judge.tier, task.check.judge.reference) == ("max", "")


def test_a_judge_may_be_shown_what_was_answered():
    (task,) = built(kept(answer="<think>hm</think> It is 42."), check="agrees:max").tasks
    assert task.check.judge.reference == "It is 42."


def test_the_recorded_answer_counts_as_right_only_when_that_is_asked_for():
    (task,) = built(kept(answer="Six times seven. The answer is 42."), check="recorded").tasks
    assert task.check.exact.equals == "42"


def test_the_check_may_be_the_verifier_that_came_with_the_request():
    verifier = {"number": {"equals": 42}}
    found = built(kept(tierwise={"verifier": verifier}), kept(action="act_2"), check="request")
    assert [task.check.number.equals for task in found.tasks] == [42]
    assert found.left_out == {"the request carried no verifier": 1}


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (kept(ending="failed", finish=""), "it was not answered to the end"),
        (kept(finish="length"), "it was not answered to the end"),
        (kept(answer="…"), None),
        (kept(answer=" . "), "its answer is empty"),
        (kept(message={"role": "assistant", "tool_calls": [{"id": "1"}]}), "its answer is a call of a tool"),
    ],
)
def test_an_action_without_an_answer_to_hold_others_against_is_left_out_and_counted(action, why):
    found = built(action, check="recorded")
    assert [key.startswith(why) for key in found.left_out] == ([True] if why else [])


def test_a_failed_action_is_asked_again_like_any_other_where_a_judge_decides():
    assert len(built(kept(ending="failed", finish="")).tasks) == 1


def test_turns_of_one_conversation_are_one_cluster():
    more = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    turns = [*more, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "and now?"}]
    found = built(kept("hi"), kept(action="act_2", messages=turns), kept("bye", action="act_3"))
    first, second, third = (task.cluster for task in found.tasks)
    assert first == second != third


def test_tasks_stand_in_the_order_in_which_they_were_asked_with_their_moments():
    found = built(kept(action="late", at=102.25), kept(action="early", at=100.0))
    assert [task.id for task in found.tasks] == ["early", "late"]
    assert trace_of(found.moments) == "0.000\n2.250\n"


def test_a_check_that_nobody_knows_is_refused_with_what_there_is():
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
def test_what_has_the_form_of_a_secret_is_taken_out_and_numbers_are_not(text, clean):
    assert redactor().text(text) == clean


def test_answers_and_options_are_redacted_too_and_images_left_whole():
    rules = redactor()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AKIAABCDEFGHIJKLMNOP"}}
    asked = kept(content=[{"type": "text", "text": "a@b.org"}, image], answer="ask c@d.org", stop=["e@f.org"])
    (task,) = built(asked, check="agrees:max", rules=rules).tasks
    assert task.messages[1]["content"] == [{"type": "text", "text": "[email]"}, image]
    assert (task.check.judge.reference, task.options) == ("ask [email]", {"stop": ["[email]"]})
    assert rules.counts["emails"] == 3


def test_rules_of_ones_own_come_first(tmp_path):
    (tmp_path / "rules.yaml").write_text("built_in: [emails]\nrules: [{pattern: 'C-(\\d+)', replacement: '<\\1>'}]\n")
    assert read_rules(tmp_path / "rules.yaml").text("C-7 at a@b.org, 10.0.0.1") == "<7> at [email], 10.0.0.1"


def test_wrong_rules_are_said_with_their_lines(tmp_path):
    (tmp_path / "rules.yaml").write_text("built_in:\n  - mails\nrules:\n  - {pattern: '(', replacement: x}\n")
    with pytest.raises(ConfigErrors) as caught:
        read_rules(tmp_path / "rules.yaml")
    said = [f"{error.field}: {error}" for error in caught.value.errors]
    assert said[0].startswith("rules.yaml:4: rules[0]: '(' does not compile")
    assert said[1].startswith("rules.yaml:2: built_in[0]: there is no built-in rule 'mails'; did you mean 'emails'?")
    with pytest.raises(NotFound):
        read_rules(tmp_path / "none.yaml")


def test_a_replacement_that_names_no_group_is_a_wrong_rule():
    with pytest.raises(ConfigErrors, match="names group 3"):
        redactor(rules=[Rule(pattern="a", replacement=r"\3")])
