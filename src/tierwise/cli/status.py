"""`tierwise status`: what a running endpoint serves, which certificates hold, and how often routes escalate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierwise.cli.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECONDS = 10.0
"""Time limit per page of the endpoint."""


def status(
    url: Annotated[str, typer.Option(help="URL of the endpoint, without /v1.")] = "http://127.0.0.1:8400",
    api_key_env: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable with the endpoint's key, if it has one.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Ask a running endpoint for its tiers, its routes with their certificates, and how often routes escalate.

    Counts are since the endpoint was started. Exit code 1 if the endpoint cannot be reached.
    """
    import asyncio
    import json

    from tierwise.cli.probe import key_in

    found = asyncio.run(_asked(url.rstrip("/").removesuffix("/v1"), key_in(api_key_env) or ""))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found)


async def _asked(url: str, key: str) -> dict[str, Any]:
    """What the pages of an endpoint say.

    Raises:
        TierwiseError: it does not answer, or is not Tierwise.
        SpecError: the key is missing or wrong, or the URL is none.
    """
    import aiohttp

    from tierwise.engines.within import within
    from tierwise.spec.errors import SpecError, TierwiseError

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with aiohttp.ClientSession(headers=headers) as session:
            pages: dict[str, Any] = {}
            for path in ("/ready", "/v1/models", "/metrics"):
                async with within(SECONDS, session, url + path) as response:
                    if response.status in (401, 403):
                        raise SpecError(f"{url} refuses the key; name its variable with --api-key-env")
                    pages[path] = await (response.text() if path == "/metrics" else response.json())
        return standing(url, pages["/ready"], pages["/v1/models"]["data"], pages["/metrics"])
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise SpecError(f"{url!r} is no URL; write http://HOST:PORT", field="--url") from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise TierwiseError(
            f"no endpoint answers at {url}: {str(error) or 'it took too long'}; is it running?"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise TierwiseError(f"{url} does not answer as `tierwise serve` does: {error!r}") from error


def standing(url: str, ready: Mapping[str, Any], models: list[Any], metrics: str) -> dict[str, Any]:
    """The state of an endpoint as plain values.

    Args:
        url: of the endpoint.
        ready: its page `/ready`.
        models: the list at `/v1/models`.
        metrics: its page `/metrics`.
    """
    answers = list(_samples(metrics, "tierwise_route_answers_total"))
    refused = list(_samples(metrics, "tierwise_escalations_total"))
    routes, tiers = [], []
    for model in models:
        ours = model["tierwise"]
        if ours["policy"] == "Cascade":
            routes.append(_route(model["id"], ours, answers, refused))
        else:
            tiers.append({"name": model["id"], "policy": ours["policy"], "deployment": ours["deployment"]})
    deployments = {name: one["state"] for name, one in ready["deployments"].items()}
    return {"url": url, "ready": ready["ready"], "deployments": deployments, "tiers": tiers, "routes": routes}


def _route(name: str, ours: Mapping[str, Any], answers: list[Any], refused: list[Any]) -> dict[str, Any]:
    own = [{"tier": one["tier"], "reason": one["reason"], "actions": count} for one, count in answers if _of(one, name)]
    decided = [one for one in own if one["reason"] != "certificate"]
    actions = sum(one["actions"] for one in decided)
    escalated = sum(one["actions"] for one in decided if one["tier"] != ours["tiers"][0])
    return {
        "name": name,
        "tiers": ours["tiers"],
        "certificate": ours.get("certificate"),
        "shadow": ours.get("shadow"),
        "actions": sum(one["actions"] for one in own),
        "by_safe_tier": sum(one["actions"] for one in own) - actions,
        "escalated": escalated,
        "escalation_rate": escalated / actions if actions else None,
        "answers": own,
        "escalations": [
            {"tier": one["tier"], "reason": one["reason"], "answers": count} for one, count in refused if _of(one, name)
        ],
    }


def _of(labels: Mapping[str, str], route: str) -> bool:
    return labels["route"] == route


def _samples(metrics: str, name: str) -> Iterator[tuple[Mapping[str, str], int]]:
    """The labels and values of a counter on a page of metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    for family in text_string_to_metric_families(metrics):
        yield from ((one.labels, int(one.value)) for one in family.samples if one.name == name)


def _print(found: Mapping[str, Any]) -> None:
    from rich.table import Table

    from tierwise.cli.console import Console

    console = Console(highlight=False, soft_wrap=True, markup=False)
    states = ", ".join(f"{name} {state}" for name, state in found["deployments"].items())
    console.print(f"{found['url']}: {'ready' if found['ready'] else 'not ready'} ({states})")
    tiers = Table("tier", "policy", "deployment", box=None, padding=(0, 2, 0, 0))
    for one in found["tiers"]:
        tiers.add_row(one["name"], one["policy"], one["deployment"])
    console.print(tiers)
    routes = Table("route", "tiers", "certificate", "actions", "escalated", box=None, padding=(0, 2, 0, 0))
    for one in found["routes"]:
        certificate = one["certificate"]
        state = "none" if certificate is None else certificate["state"]
        rate = one["escalation_rate"]
        share = "–" if rate is None else f"{one['escalated']:,} ({100 * rate:.1f} %)"
        routes.add_row(one["name"], " → ".join(one["tiers"]), state, f"{one['actions']:,}", share)
    if found["routes"]:
        console.print(routes)
    for one in found["routes"]:
        _print_reasons(console, one)


def _print_reasons(console: Any, route: Mapping[str, Any]) -> None:
    certificate = route["certificate"]
    for reason in () if certificate is None else certificate["reasons"]:
        console.print(f"{route['name']}: void, so {certificate['safe']} answers: {reason}")
    if (shadow := route["shadow"]) is not None:
        evidence = max(0.0, *shadow["evidence"].values())
        console.print(
            f"{route['name']}: {shadow['observed']:,} actions observed, {shadow['differing']:,.0f} answers differ "
            f"(certified: at most {100 * shadow['certified_rate']:.1f} %); evidence against the certificate: "
            f"{100 * evidence:.0f} % of an alarm"
        )
        if shadow["waiting"] or shadow["lost"]:
            console.print(
                f"{route['name']}: {shadow['waiting']:,} actions wait to be observed, and {shadow['lost']:,} had to "
                "yield to users until it was too late (they count as no difference)"
            )
        if labels := shadow.get("labels"):
            console.print(
                f"{route['name']}: the loss of {labels['counted']:,} actions is counted; {labels['wanted']:,} wait for "
                f"labels, and {labels['behind']:,} behind them; {labels['unlabelled']:,} were not labelled in time "
                f"(they count as no loss), {labels['late']:,} labels came too late"
            )
    if route["by_safe_tier"]:
        console.print(f"{route['name']}: {route['by_safe_tier']:,} actions were answered by the safe tier")
    for one in route["escalations"]:
        times = f"{one['answers']:,} answer{'s'[: one['answers'] != 1]}"
        console.print(f"{route['name']}: {times} of {one['tier']} not kept: {one['reason']}")
