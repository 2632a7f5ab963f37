"""The proxy on the way to a server, as the environment names it."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_to(url: str) -> str | None:
    """The proxy that the environment names for a server; none for one on this machine, even if NO_PROXY lacks it."""
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
