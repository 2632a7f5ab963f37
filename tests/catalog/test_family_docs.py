"""The table in docs/families.md is the data's."""

from __future__ import annotations

import re
from pathlib import Path

from tierwise.catalog.families import families, read_family
from tierwise.cli.families import COLUMNS, row

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
TABLE = re.compile(r"(<!-- table: families;[^\n]*-->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table() -> str:
    """What stands between the two marks; written anew with `python tests/catalog/test_family_docs.py`."""
    rows = [row(family, variant) for family in families().values() for variant in family.variants]
    lines = [f"| {' | '.join(cells)} |\n" for cells in (COLUMNS, *rows)]
    return "".join([lines[0], "|---" * len(COLUMNS) + "|\n", *lines[1:]])


def test_the_table_of_families_is_what_the_files_say():
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[2] == table(), "run python tests/catalog/test_family_docs.py"


def test_the_example_is_a_family(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    block = re.search(r"^    name: house-1.*?(?=^\S)", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    (tmp_path / "house-1.yaml").write_text(re.sub(r"^    ", "", block[0], flags=re.MULTILINE))
    assert read_family(tmp_path / "house-1.yaml").active_experts.may_change


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda found: found[1] + table() + found[3], text), encoding="utf-8")
