"""Writes a first config file, for a server that runs already or for a checkpoint on this machine.

server      what the server at a URL can do → a file
checkpoint  what a checkpoint says of itself, and what this machine has → a file
tiers       fast, standard, max and auto, as far as an engine can carry them
draft       the text of a file, and its comments
output      a file that is whole or absent, and never written over
"""

from tierwise.setup.checkpoint import draft_for_checkpoint
from tierwise.setup.draft import Draft
from tierwise.setup.output import require_new, write_new
from tierwise.setup.server import draft_for_server

__all__ = ["Draft", "draft_for_checkpoint", "draft_for_server", "require_new", "write_new"]
