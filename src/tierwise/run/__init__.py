"""Runs one prompt on one tier: an answer and a trace. Budgets, error attribution and timing are handled here."""

from __future__ import annotations

from tierwise.run.action import Action
from tierwise.run.budget import BudgetTracker
from tierwise.run.output import Sink, discard
from tierwise.run.runner import PassRunner
from tierwise.run.tier import Tier

__all__ = ["Action", "BudgetTracker", "PassRunner", "Sink", "Tier", "discard"]
