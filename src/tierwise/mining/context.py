"""The prompt of a task: what was asked, and files of the parent commit that a rule chooses without the gold diff.

The rule, in order, until the budget of tokens is used up (four characters count as one):

1. files that the message or a linked issue names: by path, by a name that only one file has, or as a module (`a.b.c`);
2. files that the commit's changed tests import, most imported first, then the shorter one.

Tests are never shown. A file that does not fit is named, and the next is tried. A list of the repository's files, at
most a tenth of the budget, comes first. What was asked has a budget of its own, of the same size.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tierwise.mining.history import Candidate, Issue
from tierwise.verifiers.repository.git import files_at, git, text
from tierwise.verifiers.repository.running import IS_TEST

CHARACTERS = 4
"""Of one token."""
_WORD = re.compile(r"[\w./-]+")
_ROOTS = ("", "src/", "lib/")

_ASK = """You change the repository {name}. This was asked:

<request>
{asked}
</request>
{files}
Answer with the change. Either give a unified diff in one block that begins with ```diff, with paths from the root of
the repository (`--- a/path`, `+++ b/path`); or give whole files, each in a fenced block under a line with its path.
The repository's tests decide, among them new ones that you do not see. Do not change tests."""


def prompt(repository: Path, name: str, candidate: Candidate, issues: Sequence[Issue], tokens: int) -> str:
    """The text of a task."""
    asked = "\n\n".join([candidate.message, *(f"Issue #{one.number}: {one.title}\n{one.body or ''}" for one in issues)])
    room = tokens * CHARACTERS
    asked = asked.strip() if len(asked) <= room else f"{asked[:room]}\n[…]"
    there = [path for path in files_at(repository, candidate.parent) if not re.search(IS_TEST, path)]
    imported = Counter[str]()
    for module in candidate.modules:
        imported.update(imports(text(repository, "show", f"{candidate.commit}:{module}"), module, there))
    chosen = list(dict.fromkeys([*named(asked, there), *_ranked(repository, candidate.parent, imported)]))
    return _ASK.format(name=name, asked=asked, files=_shown(repository, candidate.parent, there, chosen, room))


def _ranked(repository: Path, commit: str, imported: Mapping[str, int]) -> list[str]:
    sizes = {path: len(git(repository, "show", f"{commit}:{path}")) for path in imported}
    return sorted(imported, key=lambda path: (-imported[path], sizes[path], path))


def _shown(repository: Path, commit: str, there: Sequence[str], chosen: Iterable[str], room: int) -> str:
    listed = ""
    for path in there:
        if len(listed) + len(path) + 1 > room // 10:
            listed += "…\n"
            break
        listed += f"{path}\n"
    parts = [f"\nFiles of the repository:\n\n```\n{listed}```\n"]
    room -= len(listed)
    omitted = []
    for path in chosen:
        body = git(repository, "show", f"{commit}:{path}").decode(errors="replace")
        if len(body) + len(path) > room:
            omitted.append(path)
            continue
        room -= len(body) + len(path)
        fence = fence_of(body)
        parts.append(f"\n{path}\n{fence}\n{body.rstrip()}\n{fence}\n")
    if omitted:
        parts.append(f"\nNot shown, because they are too long: {', '.join(omitted)}\n")
    return "".join(parts)


def fence_of(body: str) -> str:
    """A fence that the text does not have."""
    return "`" * max(3, 1 + max((len(run) for run in re.findall(r"`{3,}", body)), default=2))


def named(words: str, there: Sequence[str]) -> list[str]:
    """The files that a text names, in its order."""
    names = Counter(path.rpartition("/")[2] for path in there)
    by_name = {path.rpartition("/")[2]: path for path in there if names[path.rpartition("/")[2]] == 1}
    known = set(there)
    found = []
    for word in (one.strip("./-") for one in _WORD.findall(words)):
        if word in known:
            found.append(word)
        elif "." in word and word in by_name:
            found.append(by_name[word])
        elif "." in word:
            found += _module(word, known)
    return list(dict.fromkeys(found))


def imports(source: str, path: str, there: Sequence[str]) -> list[str]:
    """The repository's files that a Python file imports, each once; none if it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    known, found = set(there), []
    package = path.rpartition("/")[0].split("/")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _module(alias.name, known)
        elif isinstance(node, ast.ImportFrom):
            outer = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [outer, node.module or ""]))
            inner = [one for alias in node.names for one in _module(f"{module}.{alias.name}", known)]
            found += inner or _module(module, known)
    return list(dict.fromkeys(found))


def _module(dotted: str, known: set[str]) -> list[str]:
    place = dotted.replace(".", "/")
    tried = [f"{root}{place}{end}" for root in _ROOTS for end in (".py", "/__init__.py")]
    return [path for path in tried if path in known][:1]
