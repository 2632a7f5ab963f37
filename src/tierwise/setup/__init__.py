"""Writes a first config file, for a running server or for a checkpoint on this machine.

server      a config file for the server at a URL, from a probe
checkpoint  a config file for a checkpoint on this machine
candidates  the engines that can run it, with settings;  local_machine  cores, memory, GPUs
tiers       fast, standard, max and auto, as far as an engine supports them
draft       the text of a file, and its comments
output      writes a new file atomically, never overwriting
"""

from tierwise.setup.checkpoint import draft_for_checkpoint
from tierwise.setup.draft import Draft
from tierwise.setup.output import require_new, write_new
from tierwise.setup.server import draft_for_server

__all__ = ["Draft", "draft_for_checkpoint", "draft_for_server", "require_new", "write_new"]
