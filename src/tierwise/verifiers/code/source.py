"""Python source as text of others: parsed and compiled without the warnings that are theirs to read."""

from __future__ import annotations

import ast
import types
import warnings


def parsed(text: str) -> ast.Module:
    """Raises SyntaxError, ValueError, RecursionError or MemoryError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def compiled(source: str | ast.Module, name: str) -> types.CodeType:
    """Raises SyntaxError, ValueError, RecursionError or MemoryError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code: types.CodeType = compile(source, name, "exec", dont_inherit=True)
        return code
