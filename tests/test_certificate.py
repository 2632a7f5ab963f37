"""A certificate is read as it was written, a change by hand is noticed, and every other condition is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from certificates import certificate_for
from tierwise import plan as planning
from tierwise.certificate import (
    Certificate,
    certificates_of,
    conditions_of,
    mismatches,
    notices,
    read_certificate,
    refusals,
)
from tierwise.spec.deployed import Deployed, LoadedWeights
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.signing import canonical

CONFIG = """
checkpoints:
  model: {source: "file:model.gguf", sha256: SHA}
deployments:
  small: {engine: llama.cpp, checkpoint: model, slots: 4}
  large: {engine: http, url: "http://127.0.0.1:2/v1", model: large}
  other: {engine: http, url: "http://127.0.0.1:3/v1", model: other}
tiers:
  fast: {deployment: small, policy: single, sampling: {temperature: 0.7}}
  max: {deployment: large, policy: {majority: {n: 3}}}
  aside: {deployment: other, policy: single}
routes:
  auto: {cascade: [fast, max]}
prices:
  small: {dollars_per_hour: 1}
  large: {dollars_per_hour: 3}
  other: {dollars_per_hour: 9}
""".replace("SHA", "ab" * 32)
RUNNING = {
    "small": Deployed(
        name="small", slots=4, weights=LoadedWeights(checkpoint="model", sha256="ab" * 32), facts={"version": "b1"}
    )
}


def plan(text: str = CONFIG) -> planning.Plan:
    return planning.parse(text, Path("tierwise.yaml"))


def made() -> Certificate:
    return certificate_for(plan(), RUNNING)


def test_a_certificate_is_read_as_it_was_written(tmp_path):
    made().write(tmp_path / "auto.json")
    assert read_certificate(tmp_path / "auto.json") == made()


def test_one_that_was_changed_by_hand_is_refused(tmp_path):
    path = tmp_path / "auto.json"
    made().write(path)
    path.write_text(path.read_text().replace('"limit": 0.05', '"limit": 0.01'))
    with pytest.raises(SpecError, match="was changed after it was made"):
        read_certificate(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "\xff", '{"sha256": 3}'])
def test_what_is_no_certificate_is_refused_and_named(tmp_path, text):
    path = tmp_path / "auto.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match=r"auto\.json is not a certificate"):
        read_certificate(path)
    with pytest.raises(NotFound, match="`tierwise tune` writes one"):
        read_certificate(tmp_path / "none.json")


def test_another_format_says_what_to_do(tmp_path):
    path = tmp_path / "auto.json"
    msgspec.structs.replace(made(), format=2).signed().write(path)
    with pytest.raises(SpecError, match="has format 2, and this version reads 1"):
        read_certificate(path)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("temperature: 0.7", "temperature: 0.8", "tier 'fast' has another policy, sampling or budget"),
        ("cascade: [fast, max]", "cascade: [max]", "tier 'fast' is gone"),
        ("cascade: [fast, max]", "cascade: [fast, aside, max]", "the route can reach tier 'aside'"),
        ("slots: 4", "slots: 5", "deployment 'small' has other settings"),
        ("majority: {n: 3}", "majority: {n: 5}", "tier 'max' has another policy"),
        ("ab" * 32, "cd" * 32, "deployment 'small' has another checkpoint"),
    ],
)
def test_what_is_not_as_it_was_certified_is_named(before, after, says):
    changed = conditions_of(plan(CONFIG.replace(before, after)), "auto")
    found = made().conditions.differences(changed)
    assert any(says in sentence for sentence in found), found


@pytest.mark.parametrize(("before", "after"), [("model: other}", "model: another}"), ("hour: 9", "hour: 8")])
def test_what_the_route_does_not_use_may_change(before, after):
    assert made().conditions.differences(conditions_of(plan(CONFIG.replace(before, after)), "auto", RUNNING)) == []


OTHER_PRICES = CONFIG.replace("dollars_per_hour: 3", "dollars_per_hour: 4")


def test_other_prices_change_savings_and_not_the_promise():
    assert made().differences(conditions_of(plan(OTHER_PRICES), "auto", RUNNING)) == []
    (said,) = notices(plan(OTHER_PRICES), {"auto": made()}).values()
    assert "the promise holds" in said
    assert "`tierwise whatif`" in said
    assert notices(plan(), {"auto": made()}) == {}


def test_other_prices_void_a_certificate_where_a_budget_in_dollars_ends_actions_by_them():
    bounded = CONFIG.replace("majority: {n: 3}}", "majority: {n: 3}}, budget: {dollars: 0.1}")
    certificate = certificate_for(plan(bounded), RUNNING)
    other = plan(bounded.replace("dollars_per_hour: 3", "dollars_per_hour: 4"))
    (said,) = certificate.differences(conditions_of(other, "auto", RUNNING))
    assert said.startswith("prices changed, and budgets in dollars may end actions by them")
    assert notices(other, {"auto": certificate}) == {}


def test_other_prices_void_a_certificate_that_promises_a_mean_cost():
    promise = msgspec.structs.replace(made().promise, dollars=0.01)
    certificate = msgspec.structs.replace(made(), promise=promise).signed()
    (said,) = certificate.differences(conditions_of(plan(OTHER_PRICES), "auto", RUNNING))
    assert said.startswith("prices changed, and a mean cost is promised")


OLDER = "dbaf4e6f5195c42c80d7aac2427d01844e62571c19911efd6606b73ef71bafc0"
"""The hash of `made()` before certificates said whether prices decide."""


def test_a_certificate_of_an_earlier_version_keeps_its_hash_and_is_void_at_other_prices(tmp_path):
    path = tmp_path / "auto.json"
    made().write(path)
    older = msgspec.json.decode(path.read_bytes())
    del older["conditions"]["prices_decide"]
    assert not {"looks", "level"} & older["evidence"].keys()
    assert not {"p95_seconds", "dollars"} & older["promise"].keys()
    assert "repriced" not in older["source"]
    older["sha256"] = OLDER
    path.write_bytes(msgspec.json.encode(older))
    (said,) = read_certificate(path).differences(conditions_of(plan(OTHER_PRICES), "auto", RUNNING))
    assert "prices changed" in said


def test_another_engine_version_is_named():
    newer = {"small": msgspec.structs.replace(RUNNING["small"], facts={"version": "b2"})}
    found = made().conditions.differences(conditions_of(plan(), "auto", newer))
    assert found == ["deployment 'small' runs llama.cpp b2, and b1 was certified"]


def test_weights_that_are_not_those_of_the_config_file_are_named():
    loaded = msgspec.structs.replace(RUNNING["small"], weights=LoadedWeights(checkpoint="model", sha256="ef" * 32))
    found = made().conditions.differences(conditions_of(plan(), "auto", {"small": loaded}))
    assert found == ["deployment 'small' has another checkpoint"]


def test_an_engine_that_no_longer_says_its_version_is_named_and_one_that_does_not_run_yet_is_not():
    silent = {"small": msgspec.structs.replace(RUNNING["small"], facts={})}
    found = made().conditions.differences(conditions_of(plan(), "auto", silent))
    assert found == ["deployment 'small' runs llama.cpp of an unknown version, and b1 was certified"]
    assert made().conditions.differences(conditions_of(plan(), "auto", {})) == []


def test_a_checkpoint_without_a_hash_is_compared_once_it_is_loaded():
    unpinned = plan(CONFIG.replace(f", sha256: {'ab' * 32}", ""))
    assert made().conditions.differences(conditions_of(unpinned, "auto")) == []
    assert made().conditions.differences(conditions_of(unpinned, "auto", RUNNING)) == []
    unhashed = {"small": msgspec.structs.replace(RUNNING["small"], weights=LoadedWeights(checkpoint="model"))}
    (said,) = made().conditions.differences(conditions_of(unpinned, "auto", unhashed))
    assert "`tierwise pull` computes its hash" in said


def test_a_setting_that_is_written_out_at_its_default_changes_nothing():
    spelled = plan(CONFIG.replace("slots: 4", "slots: 4, loras: {}, environment: {}"))
    assert made().conditions.differences(conditions_of(spelled, "auto", RUNNING)) == []


class Older(msgspec.Struct, frozen=True, tag_field="engine", tag="one"):
    slots: int = 4
    mode: bool | None = None


class Newer(msgspec.Struct, frozen=True, tag_field="engine", tag="one"):
    slots: int = 4
    mode: bool | None = None
    added: str = ""
    also: bool = False
    many: dict[str, str] = msgspec.field(default_factory=dict)


def test_a_setting_that_a_later_version_adds_changes_no_hash_and_every_value_has_its_own():
    assert canonical(Older()) == canonical(Newer()) == {"engine": "one", "slots": 4}
    kinds: list[Any] = [
        Newer(),
        Newer(slots=5),
        Newer(mode=True),
        Newer(mode=False),
        Newer(added="a"),
        Newer(also=True),
    ]
    assert len({str(canonical(one)) for one in kinds}) == len(kinds)


def written(tmp_path: Path, *, text: str = CONFIG, certificate: Certificate | None = None) -> planning.Plan:
    """A config file whose route has a certificate beside it."""
    (certificate or made()).write(tmp_path / "auto.json")
    (tmp_path / "tierwise.yaml").write_text(
        text.replace("cascade: [fast, max]}", "cascade: [fast, max], certificate: auto.json}")
    )
    return planning.load(tmp_path / "tierwise.yaml")


def test_a_route_s_certificate_lies_beside_the_config_file(tmp_path):
    assert certificates_of(written(tmp_path)) == {"auto": made()}
    assert certificates_of(plan()) == {}


def changed(path: Path, before: str, after: str) -> None:
    path.write_text(path.read_text().replace(before, after))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (Path.unlink, "there is no certificate"),
        (lambda path: changed(path, '"limit": 0.05', '"limit": 0.01'), "was changed after it was made"),
        (lambda path: changed(path, '"format": 1', '"format": 2'), "has format 2, and this version reads 1"),
        (lambda path: path.write_text("{"), "is not a certificate"),
    ],
)
def test_a_certificate_that_cannot_be_read_is_an_error_of_the_config_file_with_its_line(tmp_path, spoil, says):
    found = written(tmp_path)
    spoil(tmp_path / "auto.json")
    with pytest.raises(ConfigErrors, match=r"^tierwise\.yaml:13: routes\.auto\.certificate: .*" + says):
        certificates_of(found)


@pytest.mark.parametrize(
    ("route", "safe", "says"),
    [
        ("other", "max", "it is about the route 'other'"),
        ("auto", "gone", "its safe tier 'gone' is not in this file"),
        ("auto", "auto", "its safe tier 'auto' asks the route itself"),
    ],
)
def test_a_certificate_that_cannot_be_used_here_is_an_error(tmp_path, route, safe, says):
    certificate = msgspec.structs.replace(made(), route=route, safe=safe).signed()
    with pytest.raises(ConfigErrors, match=says):
        certificates_of(written(tmp_path, certificate=certificate))


def test_what_does_not_hold_is_told_with_the_line_and_with_what_to_do(tmp_path):
    found = written(tmp_path, text=CONFIG.replace("majority: {n: 3}", "majority: {n: 5}").replace("hour: 3", "hour: 4"))
    certificates = certificates_of(found)
    (error,) = refusals(found, certificates, mismatches(found, certificates))
    assert error.field == "tierwise.yaml:13: routes.auto.certificate"
    said = str(error)
    assert "tier 'max' has another policy, sampling or budget; certify" in said
    assert said.endswith(
        "certify the route again with `tierwise tune`, or serve it by its safe tier 'max' with --uncertified"
    )
    assert refusals(found, certificates, mismatches(plan(), certificates)) == []
