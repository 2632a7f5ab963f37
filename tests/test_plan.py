"""The config file: everything that is wrong at once, and the fewest processes for what is right."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tierwise import plan as planning
from tierwise.plan import Amplification, ConfigFile, Plan, parse, schema
from tierwise.policies import Cascade
from tierwise.policies.acceptance import CascadeSignal
from tierwise.spec.errors import ConfigErrors, NotFound

GOOD = """
checkpoints:
  smol: {source: "file:smol.gguf"}
deployments:
  small: {engine: llama.cpp, checkpoint: smol, slots: 4}
  far: {engine: http, url: "http://127.0.0.1:8000/v1", model: large}
tiers:
  fast: {deployment: small, policy: single, sampling: {temperature: 0}}
  standard: {deployment: small, policy: {majority: {n: 3}}, sampling: {temperature: 0.7}}
  max:
    deployment: far
    policy: {best_of_n: {n: 8, verifier: {python_tests: {}}}}
    budget: {passes: 12, completion_tokens: 16000, seconds: 60}
routes:
  auto: {cascade: [fast, standard, max]}
prices:
  small: {dollars_per_hour: 0.10}
  far: {prompt: 0.15, cached: 0.015, completion: 0.60}
"""


def plan(text: str) -> Plan:
    return parse(text, Path("tierwise.yaml"))


def wrongs(text: str) -> list[tuple[str, str]]:
    """Each error as its path in the file and its message."""
    with pytest.raises(ConfigErrors) as caught:
        plan(text)
    return [(error.field.rpartition(": ")[2], str(error)) for error in caught.value.errors]


def test_a_good_file_becomes_typed_values():
    file = plan(GOOD).file
    assert file.tiers["max"].policy.kind == "best_of_n"
    assert file.tiers["max"].budget.seconds == 60
    assert file.prices["far"].completion == 0.60


def test_tiers_that_differ_only_in_request_levers_share_one_process():
    small, far = plan(GOOD).processes
    assert (small.tiers, far.tiers) == (("fast", "standard"), ("max",))
    assert small.why_shared == "they differ only in what each request can set"
    assert far.why_shared == ""


def test_two_deployments_that_ask_for_the_same_thing_run_once():
    text = GOOD.replace(
        "  far: {engine: http", "  twin: {engine: llama.cpp, checkpoint: smol, slots: 4}\n  far: {engine: http"
    )
    (small, _) = plan(text.replace("fast: {deployment: small", "fast: {deployment: twin")).processes
    assert small.deployments == ("small", "twin")
    assert "ask for the same checkpoint and levers" in small.why_shared


def test_a_deployment_that_no_tier_uses_does_not_run_and_is_noted():
    text = GOOD.replace("deployment: far", "deployment: small")
    assert [process.name for process in plan(text).processes] == ["small"]
    assert "deployments.far: no tier uses it; it will not run" in plan(text).notes


@pytest.mark.parametrize(
    ("before", "after", "field", "message"),
    [
        ("slots: 4", "slotz: 4", "deployments.small.slotz", "did you mean 'slots'?"),
        ("checkpoint: smol,", "checkpoint: smoll,", "deployments.small.checkpoint", "there is no checkpoint 'smoll'"),
        ("deployment: far", "deployment: fart", "tiers.max.deployment", "did you mean 'far'?"),
        ("[fast, standard, max]", "[fast, maxi]", "routes.auto.cascade[1]", "there is no tier 'maxi'"),
        ("[fast, standard, max]", "[fast, fast]", "routes.auto.cascade", "names a tier more than once"),
        ("passes: 12", "passes: -12", "tiers.max.budget.passes", ">= 1"),
        ("seconds: 60", "seconds: 0", "tiers.max.budget.seconds", "> 0"),
        (
            "temperature: 0.7",
            "temperature: hot",
            "tiers.standard.sampling.temperature",
            "Expected `float | null`, got `str`",
        ),
        ("majority: {n: 3}", "majority: {n: 1}", "tiers.standard.policy.majority.n", ">= 2"),
        ("majority: {n: 3}", "plurality: {n: 3}", "tiers.standard.policy.plurality", "unknown key"),
        ("policy: single", "policy: {single: {}, refine: {}}", "tiers.fast.policy", "give exactly one of"),
        ("python_tests: {}", 'regex: {pattern: "("}', "tiers.max.policy.best_of_n.verifier.regex", "does not compile"),
        ("engine: http", "engine: htpp", "deployments.far.engine", "did you mean 'http'?"),
        ("engine: http, ", "", "deployments.far", "'engine' is missing"),
        ('url: "http://127.0.0.1:8000/v1"', "url: here", "deployments.far.url", "Expected `str` matching"),
        ("slots: 4", "slots: 4, gpu_layers: 9", "deployments.small.gpu_layers", "CPU build"),
        ("slots: 4", "slots: 4, cache_type_v: q4_0, flash_attention: false", "deployments.small.cache_type_v", "flash"),
        ("dollars_per_hour: 0.10", "dollars_per_hour: -1", "prices.small.dollars_per_hour", ">= 0"),
        ("  far: {prompt", "  fur: {prompt", "prices.fur", "there is no deployment 'fur'"),
        ("  auto: {", "  max: {", "routes.max", "is already the name of a tier"),
        ('"file:smol.gguf"', '"ftp:smol"', "checkpoints.smol.source", "pypi:"),
        ('"file:smol.gguf"', '"file:smol.gguf", sha256: abc', "checkpoints.smol.sha256", "Expected `str"),
        ("  standard: {deployment", "  fast: {deployment", "tiers.fast", "appears twice, on lines 8 and 9"),
        ("  fast: {deployment", '  "a b": {deployment', "tiers.a b", "is not a valid name"),
        ("prices:", "pricess:", "pricess", "did you mean 'prices'?"),
    ],
)
def test_each_mistake_is_named_with_its_place(before, after, field, message):
    assert before in GOOD
    found = wrongs(GOOD.replace(before, after))
    assert any(place == field and message in text for place, text in found), found


# ── tiers that ask other tiers ───────────────────────────────────────────

COMPOSED = GOOD.replace("routes:", "  both: {policy: {cascade: {tiers: [fast, max]}}}\nroutes:")


def test_a_route_is_a_tier_whose_policy_is_a_cascade():
    found = plan(GOOD)
    assert found.names == ["fast", "standard", "max", "auto"]
    assert found.tiers["auto"].policy.member == Cascade(ladder=("fast", "standard", "max"))
    assert found.deployment_of("auto") == "far"
    assert found.most_passes("auto") == (1 + 1) + (3 + 1) + 8  # with a draw more of each cheap tier


def test_a_route_may_have_signals_for_each_step():
    found = plan(
        GOOD.replace("cascade: [fast, standard, max]", "cascade: [fast, standard, max], steps: [[], [{length: 9}]]")
    )
    assert found.tiers["auto"].policy.member.steps == ((), (CascadeSignal(length=9),))
    wrong = GOOD.replace("cascade: [fast, standard, max]", "cascade: [fast, standard, max], steps: [[{length: 9}]]")
    assert [(place, "one for each tier but the last (fast, standard)" in said) for place, said in wrongs(wrong)] == [
        ("routes.auto", True)
    ]


def test_a_tier_that_asks_others_needs_no_deployment_of_its_own():
    found = plan(COMPOSED)
    assert (found.deployment_of("both"), found.most_passes("both")) == ("far", 2 + 8)
    assert found.processes[1].tiers == ("max", "both")
    own = plan(COMPOSED.replace("{policy: {cascade", "{deployment: small, policy: {cascade"))
    assert own.deployment_of("both") == "small"


def test_the_most_passes_of_a_cascade_stay_within_the_budgets_of_its_tiers():
    assert plan(COMPOSED.replace("passes: 12", "passes: 5")).most_passes("both") == 2 + 5


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (GOOD.replace("max:\n    deployment: far\n", "max:\n"), "tiers.max", "the key 'deployment' is missing"),
        (COMPOSED.replace("[fast, max]", "[fast, mix]"), "tiers.both.policy.cascade", "there is no tier 'mix'"),
        (COMPOSED.replace("[fast, max]", "[]"), "tiers.both.policy.cascade.tiers", "length >= 1"),
        (COMPOSED.replace("[fast, max]", "[fast, both]"), "tiers.both.policy", "forms a cycle: both → both"),
        (COMPOSED.replace("[fast, max]", "[auto]").replace("standard, max]", "both]"), "routes.auto.cascade",
         "forms a cycle: auto → both → auto; a tier must not reach itself"),
    ],
)  # fmt: skip
def test_tiers_that_cannot_be_asked_are_named(text, field, message):
    found = wrongs(text)
    assert any(place == field and message in said for place, said in found), found


def test_a_route_may_be_a_step_of_another_one():
    found = plan(GOOD.replace("routes:", "routes:\n  whole: {cascade: [auto, max]}"))
    assert found.most_passes("whole") == (14 + 1) + 8


def test_all_mistakes_are_shown_at_once():
    text = (
        GOOD.replace("slots: 4", "slotz: 4")
        .replace("passes: 12", "passes: -12")
        .replace("temperature: 0}", "temperature: -1}")
    )
    places = {place for place, _ in wrongs(text.replace("seconds: 60", "hours: 1"))}
    assert places == {
        "deployments.small.slotz",
        "tiers.max.budget.passes",
        "tiers.fast.sampling.temperature",
        "tiers.max.budget.hours",
    }


def test_a_name_that_stands_twice_hides_no_other_mistake():
    places = {place for place, _ in wrongs(GOOD.replace("  standard: {", "  fast: {").replace("slots: 4", "slotz: 4"))}
    assert {"tiers.fast", "deployments.small.slotz"} <= places


def test_mistakes_between_parts_are_shown_at_once_too():
    text = GOOD.replace("deployment: far", "deployment: fart").replace("[fast, standard, max]", "[quick]")
    places = {place for place, _ in wrongs(text.replace("checkpoint: smol,", "checkpoint: smoll,"))}
    assert places == {"tiers.max.deployment", "routes.auto.cascade[0]", "deployments.small.checkpoint"}


def test_an_error_knows_its_line():
    with pytest.raises(ConfigErrors, match=r"tierwise\.yaml:5: deployments\.small\.slotz"):
        plan(GOOD.replace("slots: 4", "slotz: 4"))


@pytest.mark.parametrize("text", ["", "[]", "just words", "tiers: [", "tiers: {}", "a: &x [*x]", "\t"])
def test_what_is_no_config_file_is_refused_in_words(text):
    assert wrongs(text)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(NotFound, match="there is no config file"):
        planning.load(tmp_path / "none.yaml")


def test_notes_say_what_is_legal_and_probably_not_meant():
    text = GOOD.replace("temperature: 0.7", "temperature: 0").replace("passes: 12", "passes: 4")
    notes = "\n".join(plan(text).notes)
    assert "votes at temperature 0 are identical" in notes
    assert "the policy would draw 8 passes, the budget allows 4" in notes
    assert "is not pinned by a sha256" in notes


@pytest.mark.parametrize(
    ("policy", "is_noted"), [("refine", True), ("{refine: {verifier: {number: {}}}}", False), ("{fusion: {}}", False)]
)
def test_a_refine_without_a_verifier_is_noted(policy, is_noted):
    notes = "\n".join(plan(GOOD.replace("policy: single", f"policy: {policy}", 1)).notes)
    assert ("refine without a verifier tends to lower accuracy" in notes) == is_noted


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        ("{fusion: {n: 5}}", 6),
        ("{fusion: {n: 5, select: true, groups: 3}}", 8),
        ("{best_of_n: {n: 7}}", 7),
        ("refine", 3),
    ],
)
def test_the_most_passes_of_a_tier_include_those_of_every_stage(policy, passes):
    planned = plan(GOOD.replace("policy: single", f"policy: {policy}", 1))
    name = next(name for name, tier in planned.tiers.items() if tier.policy.kind in policy)
    assert planned.most_passes(name) == passes


# ── the worst case ───────────────────────────────────────────────────────


def test_the_worst_case_of_a_tier_counts_prefills_and_what_is_cached():
    """`small` is llama.cpp with a context of 4096 tokens, `far` a server of which nothing is known."""
    found = plan(GOOD)
    assert found.amplification("fast") == Amplification(
        passes=1, prefills=0, prompts_computed=1, prompts_cached=0, completion_tokens=4096
    )
    assert found.amplification("standard") == Amplification(
        passes=3, prefills=1, prompts_computed=1, prompts_cached=3, completion_tokens=3 * 4096
    )
    assert found.amplification("max") == Amplification(
        passes=8, prefills=0, prompts_computed=8, prompts_cached=0, completion_tokens=16000
    )
    unbounded = plan(GOOD.replace("completion_tokens: 16000, ", "")).amplification("max")
    assert unbounded.completion_tokens is None


@pytest.mark.parametrize(
    "cannot_share",
    [
        "engine: llama.cpp, prompt_cache_mib: 0",
        "engine: llama.cpp, mmproj: p.gguf",
        "engine: llama.cpp, speculative: {kind: ngram-simple}",
        "engine: transformers, prefix_cache: false",
        "engine: transformers, deterministic: true",
    ],
)
def test_where_prompts_cannot_be_shared_every_pass_computes_its_own(cannot_share):
    shared = plan(GOOD.replace("engine: llama.cpp", "engine: transformers")).amplification("standard")
    assert (shared.prefills, shared.prompts_computed, shared.prompts_cached) == (0, 1, 2)
    assert plan(GOOD.replace("engine: llama.cpp", cannot_share)).amplification("standard") == Amplification(
        passes=3, prefills=0, prompts_computed=3, prompts_cached=0, completion_tokens=3 * 4096
    )


def test_the_worst_case_of_a_route_has_all_its_tiers_and_the_draws_for_agreement():
    assert plan(GOOD).amplification("auto") == Amplification(
        passes=2 + 4 + 8, prefills=1, prompts_computed=1 + 8, prompts_cached=6, completion_tokens=6 * 4096 + 16000
    )


def test_passes_in_a_tier_whose_policy_is_not_run_are_counted_where_they_run():
    """A judge takes one tier's deployment: 8 candidates on `small`, and 18 comparisons in `max`, whose 8 votes are not
    drawn.
    """
    judged = GOOD.replace("policy: single", "policy: {best_of_n: {n: 8, scorer: {judge: {tier: max}}}}", 1)
    found = plan(judged).amplification("fast")
    assert found.passes == 8 + 18
    assert found.prompts_computed is not None
    assert found.prompts_computed >= 1 + 18


GRADED = (
    GOOD.replace("policy: single", "policy: {best_of_n: {n: 4, scorer: {reward: {deployment: grader}}}}", 1)
    .replace("deployments:\n", 'deployments:\n  grader: {engine: vllm, url: "http://127.0.0.1:9/v1", rewards: true}\n')
    .replace("prices:\n", "prices:\n  grader: {prompt: 0.1}\n")
)


def test_a_reward_model_runs_for_the_tiers_that_it_grades_for_and_its_passes_are_counted_there():
    found = plan(GRADED)
    (process,) = [one for one in found.processes if one.name == "grader"]
    assert process.tiers == ("fast",)
    assert "grader" in found.reached_deployments("auto")
    assert not [note for note in found.notes if "grader" in note]
    assert found.amplification("fast") == Amplification(
        passes=8, prefills=1, prompts_computed=1 + 4, prompts_cached=4, completion_tokens=4 * 4096
    )
    assert plan(GRADED.replace("  grader: {prompt: 0.1}\n", "")).notes[0] == (
        "deployments.grader: has no price, so its passes are recorded at no cost"
    )


@pytest.mark.parametrize(
    ("before", "after", "field", "message"),
    [
        (
            "rewards: true",
            "rewards: false",
            "tiers.fast.policy.best_of_n",
            "'grader' gives no rewards; set `rewards: true`",
        ),
        ("deployment: grader", "deployment: greater", "tiers.fast.policy.best_of_n", "did you mean 'grader'?"),
        ("deployment: far", "deployment: grader", "tiers.max.deployment", "'grader' grades answers and gives none"),
        ("deployment: grader", "label: 1", "tiers.fast.policy.best_of_n.scorer.reward", "'deployment' is missing"),
        (
            "deployment: grader",
            "deployment: grader, label: -1",
            "tiers.fast.policy.best_of_n.scorer.reward.label",
            ">= 0",
        ),
    ],
)
def test_a_reward_model_only_grades_and_only_a_reward_model_does(before, after, field, message):
    with pytest.raises(ConfigErrors) as found:
        plan(GRADED.replace(before, after, 1))
    (error,) = found.value.errors
    assert (error.field or "").endswith(f": {field}")
    assert message in str(error)


def test_a_budget_bounds_the_worst_case():
    bounded = GOOD.replace("passes: 12, completion_tokens: 16000", "passes: 5, completion_tokens: 900")
    assert plan(bounded).amplification("max") == Amplification(
        passes=5, prefills=0, prompts_computed=5, prompts_cached=0, completion_tokens=900
    )
    assert plan(bounded).amplification("auto").completion_tokens == 2 * 4096 + 4 * 4096 + 900


def test_a_budget_of_dollars_without_a_price_is_noted():
    text = GOOD.replace("passes: 12", "passes: 12, dollars: 0.5").replace(
        "  far: {prompt: 0.15, cached: 0.015, completion: 0.60}\n", ""
    )
    assert any(note.startswith("tiers.max.budget.dollars: deployment far has no price") for note in plan(text).notes)
    assert not any("budget.dollars" in note for note in plan(GOOD.replace("passes: 12", "dollars: 0.5")).notes)


def test_the_schema_accepts_what_the_reader_accepts():
    validator = jsonschema.Draft202012Validator(schema())
    validator.validate(yaml.safe_load(GOOD))


def test_the_shipped_schema_is_that_of_the_built_in_members():
    shipped = Path(planning.__file__).with_name("tierwise.schema.json")
    command = [sys.executable, "-m", "tierwise", "check", "--schema"]
    environment = {**os.environ, "TIERWISE_DISABLE_PLUGINS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert shipped.read_text(encoding="utf-8") == done.stdout, "run `make schema`"


@pytest.mark.parametrize(
    ("before", "after"),
    [("slots: 4", "slotz: 4"), ("passes: 12", "passes: -12"), ("policy: single", "policy: simple")],
)
def test_the_schema_refuses_what_the_reader_refuses(before, after):
    validator = jsonschema.Draft202012Validator(schema())
    assert not validator.is_valid(yaml.safe_load(GOOD.replace(before, after)))


def test_every_key_of_the_file_is_explained_where_it_stands():
    source = ast.parse(inspect.getsource(planning))
    structs = [
        node for node in source.body if isinstance(node, ast.ClassDef) and node.name.endswith(("Config", "File"))
    ]
    assert ConfigFile.__name__ in {node.name for node in structs}
    for struct in structs:
        for here, after in zip(struct.body, [*struct.body[1:], None], strict=True):
            if isinstance(here, ast.AnnAssign):
                assert isinstance(after, ast.Expr), (
                    f"{struct.name}.{ast.unparse(here.target)} has no line of explanation"
                )
