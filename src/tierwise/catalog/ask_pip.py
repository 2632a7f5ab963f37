"""A script that asks this interpreter's pip, in a separate process, for the URL of the wheel of NAME==VERSION.

pip has no command for this. `pip install --dry-run --report` is meant to, but downloads the whole wheel first: always
up to 25.0, and later if the index has no metadata files (tested from 22.2 to 26.3). So this uses pip's own finder, with
the user's configuration, certificates and credentials. The finder is not a public interface: if it changes, this fails
and the caller falls back to `pip download`.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module


def main(name: str, version: str) -> None:
    commands = import_module("pip._internal.commands")
    specifiers = import_module("pip._vendor.packaging.specifiers")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # to stderr, for the caller to quote
    logging.getLogger("pip._internal.index.collector").setLevel(logging.DEBUG)

    command = commands.create_command("download")
    options, _ = command.parse_args(["--only-binary", ":all:"])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session, ignore_requires_python=True)  # noqa: SLF001
        versions = sorted({candidate.version for candidate in finder.find_all_candidates(name)})
        best = finder.find_best_candidate(name, specifiers.SpecifierSet(f"=={version}")).best_candidate
        link = best and best.link
        answer = {
            "versions": [str(version) for version in versions],
            "url": link and link.url_without_fragment,
            "sha256": link.hash if link and link.hash_name == "sha256" else None,
        }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
