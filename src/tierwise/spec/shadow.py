"""The settings of shadowing, which a certified route has in the config file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class Shadow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask the reference tier again, after the answer, for a share of a certified route's actions: this is how the
    endpoint notices that the certificate no longer holds.
    """

    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.02
    """The share of the route's actions that are observed. One that the reference tier answered itself costs nothing;
    any other is asked again, as an action of its own in the ledger."""
    wait_for: Literal["free_slot", "idle"] = "free_slot"
    """When a shadow may run, and is stopped otherwise. `free_slot`: while every engine that it uses has a slot for it
    that no user needs, and none says that requests wait. `idle`: while, besides, no user's pass runs in any deployment
    of the file; for engines that share processors or an accelerator."""
    tool_turns: Literal["reference", "route"] = "reference"
    """Who answers requests that offer tools. They are not observed, because whether two calls are equally good needs
    labels: so the reference tier answers them. `route` if the certified workload has such turns with their checks."""
    keep_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 0
    """Days for which request and both answers of an observed action are kept, in a file beside the ledger that only the
    user of the endpoint can read. 0: no text is kept anywhere."""
    label_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 0
    """Days for which an observed action waits for labels of its answers at `/v1/feedback`, if only they tell the
    promised loss. Those that nobody labels in time count as no loss. 0: only verifiers label."""
