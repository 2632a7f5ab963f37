"""What reads numbers and options in answers: the words of twenty languages, compiled, which takes a third of a second.

Modules that need it import it where they use it. A process that will need it imports this before somebody waits.
"""

from tierwise.verifiers import options, quantity, units

__all__ = ["options", "quantity", "units"]
