"""The deployments behind the endpoint: the response to `GET /v1/deployments`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.deployed import Deployed

if TYPE_CHECKING:
    from tierwise.service import Service


def deployed(service: Service, *, in_full: bool) -> list[Deployed]:
    """The current state of all deployments of a service; in full with their command lines, which contain paths."""
    found = service.deployed()
    return found if in_full else [msgspec.structs.replace(one, command="") for one in found]
