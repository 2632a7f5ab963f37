import contextlib
import struct
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufs import by_hand, string, text, uint32, written
from tierwise.catalog.architecture import read
from tierwise.catalog.gguf import Array, read_head
from tierwise.spec.errors import SpecError

MIXTURE = {
    "add_block_count": 2,
    "add_context_length": 4096,
    "add_embedding_length": 64,
    "add_expert_count": 8,
    "add_expert_used_count": 2,
    "add_file_type": 15,
    "add_tokenizer_model": "gpt2",
    "add_token_list": ["a", "b", "c"],
    "add_chat_template": "{{ messages }}",
}


def test_a_mixture_says_how_many_experts_work_and_where_that_stands(tmp_path):
    found = read(written(tmp_path / "m.gguf", "qwen3moe", **MIXTURE))
    assert (found.model_type, found.experts, found.active_experts) == ("qwen3moe", 8, 2)
    assert found.active_experts_key == "qwen3moe.expert_used_count"
    assert (found.layers, found.context, found.hidden) == (2, 4096, 64)
    assert (found.format, found.quantization, found.dtype) == ("gguf", "Q4_K_M", "")
    assert found.has_tokenizer
    assert found.has_chat_template


def test_a_dense_file_has_no_experts_and_a_whole_one_no_quantization(tmp_path):
    found = read(written(tmp_path / "m.gguf", "llama", add_block_count=2, add_file_type=32))
    assert (found.experts, found.active_experts, found.active_experts_key) == (None, None, "")
    assert (found.quantization, found.dtype, found.has_tokenizer, found.has_chat_template) == (
        "",
        "bfloat16",
        False,
        False,
    )


def test_experts_that_differ_by_layer_are_told_by_the_largest(tmp_path):
    per_layer = text("qwen3moe.expert_used_count") + struct.pack("<IIQ3I", 9, 4, 3, 2, 4, 1)
    path = by_hand(
        tmp_path / "l.gguf", string("general.architecture", "qwen3moe"), uint32("qwen3moe.expert_count", 8), per_layer
    )
    assert read(path).active_experts == 4


def test_the_real_model_describes_itself(smollm2):
    found = read(smollm2)
    assert (found.model_type, found.layers, found.context) == ("llama", 30, 8192)
    assert found.has_chat_template


def test_the_place_of_a_number_is_where_it_lies(tmp_path):
    path = written(tmp_path / "m.gguf", "qwen3moe", **MIXTURE)
    at, form = read_head(path).places["qwen3moe.expert_used_count"]
    assert struct.unpack_from(form, path.read_bytes(), at) == (2,)


values = st.one_of(
    st.tuples(st.just("add_bool"), st.booleans()),
    st.tuples(st.just("add_uint8"), st.integers(0, 255)),
    st.tuples(st.just("add_int16"), st.integers(-(2**15), 2**15 - 1)),
    st.tuples(st.just("add_uint32"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("add_int64"), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just("add_float32"), st.floats(width=32, allow_nan=False)),
    st.tuples(st.just("add_float64"), st.floats(allow_nan=False)),
    st.tuples(st.just("add_string"), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)),
    st.tuples(st.just("add_array"), st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=40)),
    st.tuples(st.just("add_array"), st.lists(st.text("aé字", min_size=1), min_size=1, max_size=40)),
)
heads = st.dictionaries(st.text("abc.é", min_size=1, max_size=12), values, max_size=12)


def with_values(folder: str, head: dict[str, tuple[str, object]]) -> Path:
    path = Path(folder) / "m.gguf"
    writer = pytest.importorskip("gguf").GGUFWriter(path, "llama")
    for key, (method, value) in head.items():
        getattr(writer, method)(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@given(heads)
def test_whatever_the_gguf_package_writes_is_read_back(head):
    with tempfile.TemporaryDirectory() as folder:
        read_back = read_head(with_values(folder, head)).values
    assert len(read_back) == len(head) + 1
    for key, (method, value) in head.items():
        if method == "add_array":
            assert isinstance(read_back[key], Array)
            assert read_back[key].count == len(value)
            assert read_back[key].numbers == (tuple(value) if isinstance(value[0], int) else ())
        else:
            assert read_back[key] == value


@given(heads, st.data())
def test_a_file_cut_anywhere_is_refused_and_one_with_a_changed_byte_at_worst_refused(head, data):
    with tempfile.TemporaryDirectory() as folder:
        path = with_values(folder, head)
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(SpecError):
            read_head(path)
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :])
        with contextlib.suppress(SpecError):
            read_head(path)


def test_claims_of_endless_data_cost_neither_time_nor_memory(tmp_path):
    endless = 2**63
    for lie in (
        by_hand(tmp_path / "pairs.gguf", string("general.architecture", "llama"), count=endless),
        by_hand(tmp_path / "key.gguf", struct.pack("<Q", endless)),
        by_hand(tmp_path / "text.gguf", text("k") + struct.pack("<IQ", 8, endless)),
        by_hand(tmp_path / "numbers.gguf", text("k") + struct.pack("<IIQ", 9, 4, endless)),
        by_hand(tmp_path / "strings.gguf", text("k") + struct.pack("<IIQ", 9, 8, endless), tail=bytes(64)),
        by_hand(tmp_path / "string.gguf", text("k") + struct.pack("<IIQQ", 9, 8, 2, endless), tail=bytes(64)),
    ):
        with pytest.raises(SpecError, match="is damaged"):
            read_head(lie)


def test_each_damage_is_called_by_its_name(tmp_path):
    def refusal(*pairs, **how):
        with pytest.raises(SpecError) as refused:
            read(by_hand(tmp_path / "m.gguf", *pairs, **how))
        return str(refused.value)

    name = string("general.architecture", "llama")
    assert "'general.architecture' appears twice" in refusal(name, name)
    assert "a value has the unknown type 77" in refusal(text("k") + struct.pack("<I", 77))
    assert "elements of the unknown type 9" in refusal(text("k") + struct.pack("<IIQ", 9, 9, 1))
    assert "has version 1" in refusal(version=1)
    assert "big-endian" in refusal(version=3 << 24)
    assert "has no general.architecture" in refusal(uint32("k", 1))


def test_what_is_no_gguf_file_is_refused_by_its_first_bytes(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(SpecError, match="begins with b'<!DO' instead of b'GGUF'"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(SpecError, match="begins with b''"):
        read(path)


def test_a_split_checkpoint_counts_all_its_parts_and_misses_none(tmp_path):
    split = (string("general.architecture", "llama"), text("split.count") + struct.pack("<IH", 2, 3))
    for number in (1, 2, 3):
        by_hand(tmp_path / f"m-{number:05}-of-00003.gguf", *split)
    first = tmp_path / "m-00001-of-00003.gguf"
    assert read(first).bytes == 3 * first.stat().st_size
    with pytest.raises(SpecError, match=r"part 2 of 3; name the first: m-00001-of-00003\.gguf"):
        read(tmp_path / "m-00002-of-00003.gguf")
    (tmp_path / "m-00003-of-00003.gguf").unlink()
    with pytest.raises(SpecError, match=r"1 are missing beside it: m-00003-of-00003\.gguf"):
        read(first)
    first.rename(tmp_path / "whole.gguf")
    with pytest.raises(SpecError, match="one part of 3; name it as"):
        read(tmp_path / "whole.gguf")


def array(key: str, kind: int, count: int) -> bytes:
    return text(key) + struct.pack("<IIQ", 9, kind, count)


@pytest.mark.parametrize("length", [2**31, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize(
    "pair",
    [
        lambda length: struct.pack("<Q", length),
        lambda length: text("k") + struct.pack("<IQ", 8, length),
        lambda length: array("k", 4, length),
        lambda length: array("k", 8, length),
        lambda length: array("k", 8, 1) + struct.pack("<Q", length),
        lambda length: array("k", 8, 2) + struct.pack("<QQ", 2**64 - 8, length),
    ],
)
def test_an_absurd_length_is_damage(tmp_path, pair, length):
    with pytest.raises(SpecError, match="is damaged"):
        read_head(by_hand(tmp_path / "m.gguf", pair(length), tail=bytes(64)))


@pytest.mark.parametrize(
    "pairs",
    [
        [array("k", 8, 2**40)],
        [array("k", 0, 2**40)],
        [array(f"k{number}", 8, 2**20) + bytes(8 * 2**20) for number in range(3)] + [array("l", 8, 2**30)],
        [struct.pack("<Q", 0)],
        [],
    ],
)
def test_a_sparse_file_of_zeros_is_refused_within_seconds(tmp_path, pairs):
    path = by_hand(tmp_path / "m.gguf", *pairs, count=2**40)
    with path.open("r+b") as file:
        file.truncate(2**40)
    began = time.process_time()
    with pytest.raises(SpecError, match="is damaged"):
        read_head(path)
    assert time.process_time() - began < 10
    path = by_hand(tmp_path / "few.gguf", *pairs, count=9000)
    with path.open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(SpecError, match="is damaged"):
        read_head(path)
    assert time.process_time() - began < 20
