"""The program of an answer is found, however it is written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.verifiers.code.blocks import blocks, code_in, defines

ADD = "def add(a, b):\n    return a + b"
NAMES = frozenset({"add"})


@pytest.mark.parametrize(
    "answer",
    [
        ADD,
        f"```python\n{ADD}\n```",
        f"```py\n{ADD}\n```",
        f"```Python3\n{ADD}\n```",
        f'``` python title="add.py"\n{ADD}\n```',
        f"```{{.python .numberLines}}\n{ADD}\n```",
        f"```\n{ADD}\n```",
        f"~~~python\n{ADD}\n~~~",
        f"````python\n{ADD}\n````",
        f"```python\r\n{ADD}\r\n```".replace("\r\n", "\n"),
        f"Sure!\n\n```python\n{ADD}\n```\n\nThat's it.",
        # an end that is missing, and one that never began
        f"```python\n{ADD}",
        f"```\n{ADD}",
        f"{ADD}\n```",
        f"{ADD}\n```\nThis adds.",
        # other blocks around it
        f"```python\n{ADD}\n```\nUse it like this:\n```\nadd(2, 3)  # 5\n```",
        f"```python\n{ADD}\n```\nUse it like this:\n```python\nprint(add(2, 3))\n```",
        f"```python\n{ADD}\n```\nRun it:\n```bash\npython add.py\n```",
        f"```python\n{ADD}\n```\nIt prints:\n```\n5\n```",
        f"```python\n{ADD}\n```\nIt prints:\n```text\n5\n```",
        f"```python\n{ADD}\n```\nIn JavaScript:\n```js\nfunction add(a, b) {{ return a + b }}\n```",
        f"```python\n{ADD}\n```\nAs JSON:\n```json\n[1, 2]\n```",
        f"First:\n```bash\npip install nothing\n```\n```python\n{ADD}\n```",
        f"The signature:\n```\ndef add(a, b)\n```\n```python\n{ADD}\n```",
        f"```text\n{ADD}\n```",
        f"```plaintext\n{ADD}\n```\n```json\n[1]\n```",
        # a draft, and what comes after it
        f"```python\ndef add(a, b):\n    return a - b\n```\nWait, that subtracts:\n```python\n{ADD}\n```",
        # indentation
        "1. Write:\n   ```python\n   def add(a, b):\n       return a + b\n   ```",
        "- Write:\n\n\t```python\n\tdef add(a, b):\n\t    return a + b\n\t```",
        "> ```python\n> def add(a, b):\n>     return a + b\n> ```",
        "```python\n    def add(a, b):\n        return a + b\n```",
        "    def add(a, b):\n        return a + b",
        # a session
        "```python\n>>> def add(a, b):\n...     return a + b\n```",
    ],
)
def test_the_program_is_found(answer):
    assert code_in(answer, NAMES) == ADD


@pytest.mark.parametrize("fence", ["```", "~~~"])
@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_a_fence_inside_a_string_ends_no_block(fence, quotes):
    inner = f"def add(a, b):\n    {quotes}Adds.\n\n{fence}\nadd(1, 2)\n{fence}\n    {quotes}\n    return a + b"
    assert code_in(f"Here:\n{fence}python\n{inner}\n{fence}\nDone.", NAMES) == inner


def test_parts_of_one_program_are_put_together_in_their_order():
    answer = f"Imports:\n```python\nimport math\nHALF = 0.5\n```\nThe function:\n```python\n{ADD}\n```"
    assert code_in(answer, NAMES) == f"import math\nHALF = 0.5\n\n{ADD}"
    helper = "def helper(x):\n    return x"
    assert code_in(f"```python\n{helper}\n```\nand\n```python\n{ADD}\n```", NAMES) == f"{helper}\n\n{ADD}"


def test_without_names_the_last_block_that_defines_something_counts():
    assert code_in(f"```python\nx = 1\n```\n```python\n{ADD}\n```\n```python\nprint(1)\n```") == f"x = 1\n\n{ADD}"
    assert code_in("```python\nprint(1)\n```") == "print(1)"


def test_a_block_that_is_no_python_is_kept_if_it_says_that_it_is():
    assert code_in("```python\ndef add(a, b:\n```") == "def add(a, b:"
    assert code_in("```js\nlet x = 1\n```") == "let x = 1"
    assert code_in("") == ""


def test_long_blocks_are_not_parsed_but_found():
    long = ADD + "\n" + "# x\n" * 20_000
    assert defines(long) == {"add"}
    assert code_in(f"```python\n{long}\n```\n```\nadd(1, 2)\n```", NAMES).startswith(ADD)


PIECE = ["```", "```python", "~~~", "def add(a, b):", "    return 1", '"""', "text", ">", "  ", ""]
PIECES = st.lists(st.sampled_from(PIECE))


@given(PIECES)
def test_whatever_an_answer_is_made_of_some_text_comes_out(pieces):
    text = "\n".join(pieces)
    assert isinstance(code_in(text, NAMES), str)
    assert all(one.text in text or one.text.strip() for one in blocks(text))


@given(st.text(alphabet="`~ \n>py#'\"\\def():=1", max_size=200))
def test_no_text_breaks_it(text):
    assert isinstance(code_in(text, NAMES), str)


F = "def f(x):\n    return x + 1"
WRITTEN = {
    "uses an earlier block": "```python\ndef g():\n    return 1\n```\n```python\ndef f(x):\n    return x + g()\n```",
    "a helper is mended later": (
        "```python\ndef g():\n    return 5\n\ndef f(x):\n    return x + g()\n```\nFix g:\n"
        "```python\ndef g():\n    return 1\n```"
    ),
    "the function is mended, and its helper stays": (
        "```python\ndef g():\n    return 1\n\ndef f(x):\n    return x\n```\nFix f:\n"
        "```python\ndef f(x):\n    return x + g()\n```"
    ),
    "imports come first": ("```python\nimport math\n```\n```python\ndef f(x):\n    return math.floor(x) + 1\n```"),
    "prose without a fence": f"Sure! Here is the function:\n\n{F}\n\nIt adds one.",
    "prose right before the code": f"Here is the function:\n{F}",
    "prose after the code": f"{F}\n\nThis function adds one to x.",
    "Markdown that is nested": f"````markdown\n```python\n{F}\n```\n````",
    "a transcript after the code": f"```python\n{F}\n\n>>> f(1)\n2\n```",
    "output that is Python": f"```python\n{F}\n```\n```\nf = 3\n```",
    "an outline after the code": f"```python\n{F}\n```\nThe shape is\n```python\ndef f(x):\n    ...\n```",
    "an opening fence that is glued": f"Answer:```python\n{F}\n```",
    "a closing fence that is glued": f"```python\n{F}```",
    "a mark of byte order": f"\ufeff```python\n{F}\n```",
    "a definition under a condition": (
        "```python\nif True:\n    def f(x):\n        return x + 1\n```\n```python\nprint('done')\n```"
    ),
    "a definition under try": (
        "```python\ntry:\n    from missing import f\nexcept ImportError:\n    def f(x):\n        return x + 1\n```\n"
        "```python\nprint('done')\n```"
    ),
}


@pytest.mark.parametrize("answer", WRITTEN.values(), ids=WRITTEN)
def test_the_function_works_however_its_parts_are_written_down(answer):
    scope: dict = {"__name__": "answer"}
    exec(code_in(answer, frozenset({"f"})), scope)
    assert scope["f"](1) == 2
