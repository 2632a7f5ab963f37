"""What reads answers: numbers and options, for which the words of twenty languages are compiled, and schemas. To import
them takes a third of a second.

Modules that need it import it where they use it. A process that will need it imports this before somebody waits.
"""

from tierwise.verifiers import options, quantity, schemas, units

__all__ = ["options", "quantity", "schemas", "units"]
