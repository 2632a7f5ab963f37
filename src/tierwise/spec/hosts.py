"""Hosts of URLs and headers."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=1024)
def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name; without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
