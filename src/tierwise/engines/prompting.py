"""How the prompts of a checkpoint are made, by what is known of its family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.catalog.families import family_of

if TYPE_CHECKING:
    from tierwise.catalog.architecture import Architecture
    from tierwise.catalog.families import Family
    from tierwise.engines.thinking_switch import ThinkingSwitch


def family_of_checkpoint(architecture: Architecture) -> Family | None:
    """The family that a checkpoint belongs to; None where we know of none."""
    return family_of(
        architecture.model_type,
        layers=architecture.layers,
        hidden=architecture.hidden,
        experts=architecture.experts,
    )


def switch_of(architecture: Architecture) -> ThinkingSwitch | None:
    """How a checkpoint's chat template is told to think; None where its family is not known or has no such switch."""
    family = family_of_checkpoint(architecture)
    return family.thinking.switch if family is not None else None


def has_chat_form(architecture: Architecture) -> bool:
    """Whether it has a chat template, or is of a family that ships none because engines write its prompts in code."""
    family = family_of_checkpoint(architecture)
    return architecture.has_chat_template or (family is not None and not family.thinking.ships_template)
