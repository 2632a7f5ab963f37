"""Whether a certified route still keeps its promise: a share of its actions is asked again on the reference tier.

`shadows.py` asks, `room.py` says when it may, `waiting.py` holds those that wait, `comparing.py` compares the two
answers, `watching.py` has the detectors of a route, and `memory.py` keeps their state beside the ledger.
"""

from tierwise.shadowing.answered import Answered as Answered
from tierwise.shadowing.shadows import Shadows as Shadows
from tierwise.shadowing.watching import ShadowedRoute as ShadowedRoute

__all__ = ["Answered", "ShadowedRoute", "Shadows"]
