"""What only a launched llama.cpp can do."""

from __future__ import annotations

import pytest

from tierwise.engines.engine import ControlsThinking, SharesPrompts
from tierwise.engines.llama_cpp.engine import LlamaCppEngine
from tierwise.engines.process.launched import LaunchedEngine


@pytest.mark.parametrize("ability", [SharesPrompts, ControlsThinking])
def test_of_the_launched_engines_only_llama_cpp_is_told_to_share_prompts_and_to_end_thinking(ability):
    assert issubclass(LlamaCppEngine, ability)
    assert not issubclass(LaunchedEngine, ability)
