"""A config file for a running server: its tiers follow from a probe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, get_args

import aiohttp

from tierwise.engines import DeploymentSettings
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.proxy import proxy_to
from tierwise.engines.openai.quirks import server_named
from tierwise.engines.probe.findings import TRAITS, Probed
from tierwise.engines.probe.probe import Probe
from tierwise.engines.probe.reach import Listing, hushed, reach, read_base
from tierwise.engines.probe.thinking import cap_fields
from tierwise.setup.draft import Draft, comment, quoted
from tierwise.setup.tiers import Abilities, thinking_tokens, tier_lines
from tierwise.spec.call import Call
from tierwise.spec.errors import Broken, EngineError, NotFound, TimedOut
from tierwise.spec.flow import inline
from tierwise.spec.prompt import Prompt

SECONDS = 10.0
"""Default time limit per request."""

_DEPLOYMENT = "server"
_SHOWN = 10  # maximum of a server's models


async def draft_for_server(
    url: str,
    *,
    model: str = "",
    key: str | None = None,
    key_env: str = "",
    seconds: float = SECONDS,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Draft, Probed]:
    """Probe a server, and write suitable tiers.

    Args:
        url: its base URL; `/v1` is tried if omitted.
        model: the server's name of the model; the first listed if empty.
        key: sent with every request.
        key_env: the environment variable with the key, for the file; the key itself is never written.
        seconds: time limit per request.
        tell: called with each feature before it is probed.

    Returns:
        The file, and the results of the probe.

    Raises:
        SpecError: the URL is invalid, or the model does not exist.
        EngineError: the server is unreachable, not OpenAI-compatible, requires a key, does not support chat, or stopped
            answering during the probe.
    """
    base = read_base(url)
    tell("models")
    listing = await _listing(base, model, key, seconds)
    if model and listing.names and model not in listing.names:
        others = ", ".join(listing.names[:_SHOWN])
        raise NotFound(f"{listing.url} has no model {model!r}; it has: {others}", field="--model")
    if not model and not listing.names:
        raise Broken(f"{listing.url}/models lists no models; load one, or name it with --model")
    chosen = model or listing.names[0]
    tell("a chat completion")
    await _require_chat(listing, chosen, key, seconds)
    probed = await Probe(listing.url, model=chosen, api_key=key, seconds=seconds, tell=tell).run()
    if not probed.is_whole:
        raise TimedOut(_stopped(probed, seconds))
    draft = write_draft(probed, key_env=key_env, is_chosen=bool(model))
    if listing.url != base:
        moved = f"the API is at {listing.url}, not at {base}; the file has the right URL"
        draft = replace(draft, notes=(moved, *draft.notes))
    return draft, probed


def write_draft(probed: Probed, *, key_env: str = "", is_chosen: bool = False) -> Draft:
    """The config file for a probed server; see `draft_for_server`.

    Args:
        probed: the results of the probe.
        key_env: the environment variable with its key.
        is_chosen: whether the user named the model.
    """
    writer = _ServerConfigWriter(probed, key_env, is_chosen)
    about = f"{writer.who}, model {quoted(probed.model)}"
    return Draft(text="\n".join(writer.lines()) + "\n", about=about, notes=tuple(writer.notes()))


async def _listing(base: str, model: str, key: str | None, seconds: float) -> Listing:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        return await reach(session, base, proxy=proxy_to(base), seconds=seconds, may_lack_list=bool(model))


async def _require_chat(listing: Listing, model: str, key: str | None, seconds: float) -> None:
    """Start one answer with a request like a deployment's: what fails here would fail in every tier."""
    client = ChatClient(_DEPLOYMENT, model, api_key=key, silent_seconds=seconds, proxy=proxy_to(listing.url))
    call = Call(prompt=Prompt(messages=({"role": "user", "content": "Say hello."},)))
    try:
        async with asyncio.timeout(seconds), aclosing(client.stream(listing.url, call)) as stream:
            async for chunk in stream:
                if chunk.is_output:
                    break
    except TimeoutError as error:
        raise TimedOut(
            f"{listing.url} lists its models, but did not start an answer within {seconds:g} s; if it is slow,"
            " allow more with --seconds 60"
        ) from error
    except EngineError as error:
        others = [name for name in listing.names if name != model][:_SHOWN]
        advice = (
            f"; if this model does not support chat, choose another with --model: {', '.join(others)}" if others else ""
        )
        if "answered 401" in str(error) or "answered 403" in str(error):
            advice = "; name the environment variable with the right key by --key-env NAME"
        said = hushed(str(error).removeprefix(f"deployment {_DEPLOYMENT!r} "), key)
        raise type(error)(f"{listing.url} does not chat with {model!r}: {quoted(said)}{advice}") from error
    finally:
        await client.close()


def _stopped(probed: Probed, seconds: float) -> str:
    silent = [trait for trait, finding in probed.findings.items() if "no answer within" in finding.note]
    what = f"requests for {' and '.join(silent)} had no answer within {seconds:g} s" if silent else "connections broke"
    return (
        f"{probed.url} stopped answering during the probe: {what}; nothing was written. Check that it is"
        " up; if it is slow, allow more with --seconds 60"
    )


@dataclass(frozen=True, slots=True)
class _ServerConfigWriter:
    """The lines of the file, section by section."""

    probed: Probed
    key_env: str
    is_chosen: bool
    """Whether the user named the model."""

    @property
    def who(self) -> str:
        """Server, version and address."""
        version = quoted(self.probed.version)
        named = f"{self.probed.server} {version}".strip() or "a server of unknown kind"
        return f"{named} at {self.probed.url}"

    def lines(self) -> Iterator[str]:
        probed = self.probed
        yield from comment(f"Tiers for {self.who}. Written by `tierwise init` on {probed.date} (UTC).")
        yield from comment(f"Observed on that day with model {quoted(probed.model)} (`tierwise probe` repeats this):")
        yield from self._findings()
        yield ""
        yield "deployments:"
        yield f"  {_DEPLOYMENT}:"
        yield from self._deployment()
        yield ""
        yield from tier_lines(self._abilities(), _DEPLOYMENT)
        yield ""
        yield from comment("Set a price to record the cost of each answer: dollars per million tokens, or per hour.")
        yield f"# prices: {{{_DEPLOYMENT}: {{prompt: …, cached: …, completion: …}}}}"

    def _findings(self) -> Iterator[str]:
        signs = {"yes": "yes", "no": "no", "unseen": "?"}
        for trait, about in TRAITS.items():
            finding = self.probed.findings[trait]
            note = f" ({quoted(finding.note)})" if finding.note else ""
            yield f"#   {signs[finding.verdict]:4}{about}{note}"

    def _deployment(self) -> Iterator[str]:
        probed, server = self.probed, server_named(self.probed.server)
        yield f"    engine: {server.at_url if server is not None else 'http'}"
        yield f"    url: {inline(probed.url)}"
        if others := [name for name in probed.models if name != probed.model]:
            which = "It" if self.is_chosen or probed.model != probed.models[0] else "The first one listed; the server"
            rest = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
            listed = ", ".join(map(quoted, others[:_SHOWN]))
            yield from comment(f"{which} also has: {listed}{rest} (tierwise init --model NAME)", "    ")
        yield f"    model: {inline(probed.model)}"
        if self.key_env:
            yield f"    api_key_env: {self.key_env}    # environment variable with the key, which no file contains"
        if probed.context is not None and "context" in _fields_of(server.at_url if server is not None else "http"):
            yield f"    context: {probed.context}    # tokens of prompt and answer, as reported by the server"
        yield from self._slots()
        if server is not None and server.extra:
            yield from comment("It reports usage with every chunk, so that a cut pass is counted exactly.", "    ")
            yield f"    extra: {inline(dict(server.extra))}"
        if probed.verdict("stream_usage") == "no":
            yield from comment(
                "Its streams end without usage: completion tokens are estimated from the chunks, prompt tokens are"
                " unknown, and answers have `exact: false`.",
                "    ",
            )
        if probed.verdict("abort") == "no":
            yield from comment("It continues after a pass is aborted: stopping early saves time but no tokens.", "    ")

    def _slots(self) -> Iterator[str]:
        slots = self.probed.slots
        if slots == 1:
            yield from comment("It answers one request at a time, so the passes of a policy run sequentially.", "    ")
        elif slots is not None:
            yield from comment(f"It answers {slots} requests concurrently, so an action sends no more at once.", "    ")
        if slots is not None:
            yield f"    slots: {slots}"

    def _abilities(self) -> Abilities:
        probed = self.probed
        switch, tokens = probed.switch, thinking_tokens(probed.context)
        on, off = (switch.on, switch.off) if switch is not None else ({}, {})
        heat, logprobs = probed.findings["temperature"], probed.findings["logprobs"]
        is_refused = heat.note.startswith("refused")
        return Abilities(
            takes_temperature=heat.verdict == "yes",
            alike=quoted(heat.note) if heat.verdict == "no" and not is_refused else "",
            unrepeatable=probed.verdict("greedy") == "no",
            no_logprobs="" if logprobs.verdict == "yes" else quoted(logprobs.note) or "it gives none",
            on=on,
            off=off,
            cap={"extra": cap_fields(switch.cap, tokens)} if switch is not None and switch.cap else {},
            thinking_tokens=tokens,
            thinks_anyway=switch is None and probed.verdict("reasoning") == "yes",
            is_serial=probed.slots == 1,
        )

    def notes(self) -> Iterator[str]:
        """What the user should know before the first request."""
        probed = self.probed
        if len(probed.models) > 1 and not self.is_chosen:
            others = ", ".join(quoted(name) for name in probed.models[1 : _SHOWN + 1])
            count = len(probed.models)
            yield f"the server has {count} models, and the file uses the first; choose another with --model: {others}"
        if probed.verdict("stream_usage") == "no":
            yield "it sends no usage in streams: token counts are estimated"
        if probed.slots == 1:
            yield "it answers one request at a time: the passes of a policy run sequentially"
        if probed.verdict("logprobs") != "yes":
            yield "it returns no log-probabilities, so max does not use best_of_n"
        if probed.verdict("tools_shown") == "no":
            yield "it does not show tools to the model, so the model calls none"
        if probed.verdict("temperature") == "no":
            yield f"no tier sets a temperature: {quoted(probed.findings['temperature'].note)}"


def _fields_of(engine: str) -> frozenset[str]:
    """The settings of an engine in the config file."""
    kinds: tuple[Any, ...] = get_args(DeploymentSettings)
    return frozenset(next(kind.__struct_fields__ for kind in kinds if kind.__struct_config__.tag == engine))
