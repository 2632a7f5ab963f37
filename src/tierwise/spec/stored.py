"""Settings of what the endpoint keeps of responses between requests."""

from __future__ import annotations

from typing import Annotated

import msgspec


class StoredResponses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many responses of `/v1/responses` are kept in memory, for `previous_response_id`, item references and GET."""

    count: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1000
    """Number of responses; 0 keeps none. The oldest make room."""
    mebibytes: Annotated[float, msgspec.Meta(gt=0, le=65536)] = 64.0
    """Size of their items and objects as JSON."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=31_536_000)] = 3600.0
    """Age at which a response is dropped."""
