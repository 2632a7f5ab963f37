"""Finds the base URL of an OpenAI-compatible API and the models that it lists.

Separate from the probe, which checks what the server does with a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from tierwise.engines.openai.failure import read_failure
from tierwise.engines.openai.masking import masked
from tierwise.engines.within import within
from tierwise.spec.errors import Broken, EngineError, Garbled, SpecError, TimedOut

REACH_SECONDS = 10.0
"""Timeout of the list of models and other pages."""

_MOST_BYTES = 4 << 20
_EXAMPLE = "http://127.0.0.1:8000/v1"
_ENDPOINTS = ("/chat/completions", "/completions", "/models")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A server's list of models."""

    url: str
    """The base URL that answered, without a trailing slash."""
    models: tuple[Mapping[str, Any], ...]
    """Its entries, each with a string `id`; empty if it has no such page."""
    headers: Mapping[str, str]
    """Headers of that response, with lower-case names."""

    @property
    def names(self) -> list[str]:
        """Its names of models, in its order."""
        return [one["id"] for one in self.models]


def read_base(text: str) -> str:
    """Parse the base URL of an API from user input. The path of an endpoint at its end is removed.

    Raises:
        SpecError: it is not an http or https URL, or it contains a password or a query, which the message omits.
    """
    text = text.strip()
    if "://" not in text:
        raise SpecError(f"{text!r} is not a URL: it has no scheme; write it as {_EXAMPLE}", field="--url")
    try:
        place = urlsplit(text)
        host, _ = place.hostname, place.port
    except ValueError as error:
        raise SpecError(f"{text!r} is not a URL: {error}; write it as {_EXAMPLE}", field="--url") from error
    if place.scheme not in ("http", "https"):
        raise SpecError(
            f"the scheme {place.scheme!r} is not supported; use http or https, as in {_EXAMPLE}", field="--url"
        )
    if "@" in place.netloc:
        raise SpecError(
            "the URL contains a user name or password; put the key into an environment variable and name it"
            " with --key-env",
            field="--url",
        )
    if place.query or place.fragment:
        raise SpecError(f"the URL has a query or a fragment; give the base URL only, as in {_EXAMPLE}", field="--url")
    if not host or not text.isprintable() or " " in text:
        raise SpecError(f"{text!r} is not a URL; write it as {_EXAMPLE}", field="--url")
    path = place.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        path = path.removesuffix(endpoint).rstrip("/")
    return f"{place.scheme}://{place.netloc}{path}"


def bases(url: str) -> tuple[str, ...]:
    """Candidates for the base URL, most likely first: with `/v1` if it is missing."""
    place = urlsplit(url)
    root, path = f"{place.scheme}://{place.netloc}", place.path.rstrip("/")
    if not path:
        return (f"{root}/v1", root)
    beside = (f"{url}/v1",) if not path.endswith("/v1") else ()
    return tuple(dict.fromkeys((url, *beside, f"{root}/v1")))


async def reach(
    session: aiohttp.ClientSession,
    url: str,
    *,
    proxy: str | None = None,
    seconds: float = REACH_SECONDS,
    may_lack_list: bool = False,
) -> Listing:
    """Find the base URL under which a server lists its models. Does not follow redirects.

    Args:
        session: with the API key in its headers, if there is one.
        url: from `read_base`.
        proxy: URL of the proxy; None for none.
        seconds: timeout of each response.
        may_lack_list: whether to accept a server without a list of models, because the model's name is known.

    Raises:
        Broken: it cannot be reached, requires a key, redirects, or has an internal error.
        TimedOut: it does not answer in time.
        Garbled: it is not an OpenAI-compatible API.
    """
    limit = min(seconds, REACH_SECONDS)
    seen: list[_Seen] = []
    for base in bases(url):
        page = f"{base}/models"
        try:
            async with within(limit, session, page, proxy=proxy, allow_redirects=False) as response:
                text = hushed(await text_of(response), session.headers.get("Authorization", "").removeprefix("Bearer "))
        except TimeoutError as error:
            raise TimedOut(
                f"GET {page} had no answer within {limit:g} s; check that the server is up and that the port is right"
            ) from error
        except aiohttp.ClientResponseError as error:
            raise Garbled(f"{url} is not an HTTP server: {error.message}; correct the address") from error
        except (aiohttp.ClientError, OSError) as error:
            why = f"{url} cannot be reached: {_reason(error)}; start the server, or correct the address"
            raise Broken(why) from error
        if response.status in (401, 403):
            raise _no_entry(page, response, text, had_key="Authorization" in session.headers)
        models = _models(text) if response.status == 200 else None
        if models is not None:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Listing(url=base, models=models, headers=headers)
        seen.append(_Seen(page, response.status, response.content_type, text, response.headers.get("Location", "")))
    if may_lack_list and all(one.status in (404, 405, 501) for one in seen):
        return Listing(url=url if urlsplit(url).path else bases(url)[0], models=(), headers={})
    raise _no_api(url, seen)


async def find_base(
    session: aiohttp.ClientSession, url: str, *, proxy: str | None = None, seconds: float = REACH_SECONDS
) -> str | None:
    """The base URL under which a server lists its models, `url` itself first; None if it lists none or is down.

    Args:
        session: with the API key in its headers, if there is one.
        url: of the server, with or without `/v1`.
        proxy: URL of the proxy; None for none.
        seconds: timeout of each response.
    """
    for base in dict.fromkeys((url.rstrip("/"), *bases(url.rstrip("/")))):
        try:
            async with within(seconds, session, f"{base}/models", proxy=proxy, allow_redirects=False) as response:
                if response.status == 200 and _models(await text_of(response)) is not None:
                    return base
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None
    return None


def hushed(text: str, key: str | None) -> str:
    """A server's text without the key, which some servers repeat when they reject it."""
    return masked(text, key)


async def text_of(response: aiohttp.ClientResponse) -> str:
    """The body as text, limited to its first 4 MiB."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            break
    return b"".join(parts)[:_MOST_BYTES].decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A response that is not a list of models."""

    page: str
    status: int
    kind: str
    text: str
    moved_to: str

    def __str__(self) -> str:
        words = " ".join(self.text.split())[:60]
        return f"GET {self.page} returned {self.status}, {self.kind}: {words!r}"


def _models(text: str) -> tuple[Mapping[str, Any], ...] | None:
    """The models of a list; None if the text is not one. Some servers omit the object around it."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    listed = found.get("data") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        return None
    return tuple(_named(listed))


def _named(listed: list[Any]) -> Iterator[Mapping[str, Any]]:
    for one in listed:
        if isinstance(one, dict) and isinstance(name := one.get("id"), str) and name and name.isprintable():
            yield one


def _no_entry(page: str, response: aiohttp.ClientResponse, text: str, *, had_key: bool) -> EngineError:
    words = read_failure(response.status, text.encode(), {}).message[:160]
    if had_key:
        return Broken(
            f"GET {page} rejects the key ({response.status}: {words}); name the variable of another: --key-env"
        )
    return Broken(
        f"GET {page} requires a key ({response.status}: {words}); put it into an environment variable and give that"
        " variable's name with --key-env NAME"
    )


def _no_api(url: str, seen: list[_Seen]) -> EngineError:
    for one in seen:
        if 300 <= one.status < 400:
            target = urljoin(one.page, one.moved_to) if one.moved_to else ""
            advice = f"give its base URL: {target.removesuffix('/models')}" if one.moved_to else "give its own address"
            return Broken(
                f"GET {one.page} redirects to {target or 'nowhere'} ({one.status}); redirects are not followed, since"
                f" prompts and key would go there too; if that is the server, {advice}"
            )
    for one in seen:
        if one.status >= 500 or one.status == 429:
            words = read_failure(one.status, one.text.encode(), {}).message[:160]
            return Broken(f"GET {one.page} failed ({one.status}: {words}); try again when the server is ready")
    told = "; ".join(map(str, seen))
    return Garbled(f"{url} is not an OpenAI-compatible API: {told}; give the base URL, such as {_EXAMPLE}")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
