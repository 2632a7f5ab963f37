"""The proxy for a server, from the environment."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_to(url: str) -> str | None:
    """The proxy for a server, from the environment; None for loopback addresses, even if NO_PROXY lacks them."""
    place = urlsplit(url)
    host = place.hostname or ""
    if host == "localhost" or _is_loopback(host) or proxy_bypass(place.netloc):
        return None
    return getproxies().get(place.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
