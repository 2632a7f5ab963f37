"""Leases of slots: every pass gets one, the best one that is free, in fair turns."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.engines.llama_cpp import client as llama_cpp_client
from tierwise.engines.llama_cpp.client import SlotClient
from tierwise.engines.llama_cpp.prompt_text import prompt_text, shared_characters, with_answer
from tierwise.engines.llama_cpp.slots import Slots
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.part import Part
from tierwise.spec.call import Call, Chunk
from tierwise.spec.errors import Broken
from tierwise.testing import ask_user, frozen


def text(said, **fields):
    return prompt_text(Call(prompt=ask_user(said, **fields)))


def test_a_pass_gets_the_slot_that_holds_most_of_its_prompt():
    async def main():
        slots = Slots(3)
        async with slots.leased(text("a")) as one, slots.leased(text("b")) as other:
            one.holds, other.holds = text("a long story about a fox"), text("a long story about a hen")
        async with slots.leased(text("a long story about a hen, again")) as leased:
            assert leased is other

    frozen(main())


def test_the_next_turn_of_a_conversation_gets_the_slot_of_the_last_one():
    async def main():
        slots = Slots(2)
        first = text("Who are you?")
        async with slots.leased(first) as slot:
            slot.holds = with_answer(first, "A fox.")
        async with slots.leased((*first, "assistant\nA fox.", "user\nSay it again.")) as leased:
            assert leased is slot

    frozen(main())


def test_passes_that_share_nothing_get_the_slot_that_was_released_first():
    async def main():
        slots, used = Slots(3), []
        for said in "abcde":
            async with slots.leased((said,)) as slot:
                slot.holds = (said,)
                used.append(slot.number)
        assert used == [0, 1, 2, 0, 1]

    frozen(main())


async def held(slots, prompt, order, seconds=1.0, group=""):
    async with slots.leased(prompt, group):
        order.append(prompt[0])
        await asyncio.sleep(seconds)


def test_a_single_pass_waits_for_one_pass_of_a_group_that_came_before_it_and_not_for_all():
    async def main():
        slots, order = Slots(1), []
        async with asyncio.TaskGroup() as group:
            for prompt in (("group",),) * 6:
                group.create_task(held(slots, prompt, order))
            await asyncio.sleep(0.5)
            group.create_task(held(slots, ("single",), order))
        assert order.index("single") <= 2
        assert order.count("group") == 6

    frozen(main())


def test_two_groups_take_turns():
    async def main():
        slots, order = Slots(1), []
        async with asyncio.TaskGroup() as group:
            for prompt in [("a",)] * 4 + [("b",)] * 4:
                group.create_task(held(slots, prompt, order))
        assert order == list("aabababb")

    frozen(main())


def test_a_group_is_not_starved_by_passes_that_keep_coming():
    async def main():
        slots, order = Slots(1), []
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(held(slots, ("group",), order))
            for number in range(20):
                group.create_task(held(slots, (f"{number}",), order))
                await asyncio.sleep(0.5)
        assert max(place for place, name in enumerate(order) if name == "group") < 12

    frozen(main())


class Followed(str):
    """A text of which one can see whether it is still in memory."""

    __slots__ = ("__weakref__",)


def test_prompts_that_were_served_are_forgotten_even_if_passes_always_wait():
    async def main():
        slots, kept = Slots(1), weakref.WeakSet()
        async with asyncio.TaskGroup() as group:
            for number in range(500):
                said = Followed(f"story {number}")
                kept.add(said)
                group.create_task(held(slots, (said,), []))
                await asyncio.sleep(0.1 if number < 4 else 1.0)
            assert slots.waiting
            gc.collect()
            assert len(kept) < 100

    frozen(main())


def test_a_single_pass_does_not_wait_for_a_group_that_has_every_other_slot():
    async def main():
        slots, order = Slots(5, spare=1), []
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(held(slots, ("group",), order, 100.0, "action"))
            await asyncio.sleep(1)
            assert order == ["group"] * 4
            for single in ("first", "second"):
                group.create_task(held(slots, (single,), order))
            await asyncio.sleep(0.5)
            assert order == ["group"] * 4 + ["first"]
            await asyncio.sleep(1)
            assert order[5:] == ["second"]  # after the other single pass, and before any of the group ends
        assert order.count("group") == 8

    frozen(main())


def test_passes_that_run_alone_have_no_more_slots_than_before_while_no_group_runs():
    async def main():
        slots, order = Slots(3, spare=1), []
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(held(slots, (name,), order))
            await asyncio.sleep(0.5)
            assert order == ["a", "b"]
        assert order == ["a", "b", "c"]

    frozen(main())


def test_groups_take_turns_whatever_their_prompts():
    """A panel of comparisons has a prompt for each of them, and is still one action."""

    async def main():
        slots, order = Slots(3, spare=1), []
        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(held(slots, ("a", f"comparison {number}"), order, group="one"))
            for _ in range(6):
                group.create_task(held(slots, ("b",), order, group="two"))
        assert order == list("aaababababbb")

    frozen(main())


@given(st.lists(st.integers(2, 9), min_size=2, max_size=4), st.integers(2, 5))
def test_no_group_waits_for_more_than_one_turn_of_each_other(sizes, most):
    async def main():
        slots, order = Slots(most + 1, spare=1), []
        async with asyncio.TaskGroup() as group:
            for name, size in enumerate(sizes):
                for _ in range(size):
                    group.create_task(held(slots, (name,), order, group=f"{name}"))
        turns = order[most:]  # the first passes found free slots
        left = {name: turns.count(name) for name in range(len(sizes))}
        for name, other in itertools.pairwise(turns):
            left[name] -= 1
            assert other != name or not any(left[one] for one in left if one != name)

    frozen(main())


def test_a_group_runs_although_single_passes_keep_coming():
    async def main():
        slots, order = Slots(3, spare=1), []
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(held(slots, (f"{number}",), order))
                if number == 3:
                    for _ in range(4):
                        group.create_task(held(slots, ("group",), order, group="action"))
                await asyncio.sleep(0.25)
        assert max(place for place, name in enumerate(order) if name == "group") < 20

    frozen(main())


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.none() | st.integers(0, 8), st.sampled_from(["", "g"])),
        max_size=20,
    ),
    st.integers(0, 1),
)
def test_no_slot_is_lost_or_leased_twice_whatever_is_cancelled(passes, spare):
    async def main():
        slots, running, in_groups = Slots(2, spare), set(), set()

        async def run(prompt, seconds, group):
            async with slots.leased(prompt, group) as slot:
                if group:
                    in_groups.add(slot.number)
                    assert len(in_groups) <= 2 - spare
                assert slot.number not in running
                running.add(slot.number)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    running.remove(slot.number)
                    in_groups.discard(slot.number)

        tasks = []
        for name, seconds, cancel, group in passes:
            task = asyncio.create_task(run((name,), seconds, group))
            if cancel is not None:
                asyncio.get_running_loop().call_later(cancel, task.cancel)
            tasks.append(task)
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError)
        assert slots.waiting == 0
        async with slots.leased(("x",)) as one, asyncio.timeout(1):
            if spare:
                assert one.number in {0, 1}
            else:
                async with slots.leased(("y",)) as other:
                    assert {one.number, other.number} == {0, 1}

    frozen(main())


def test_a_pass_that_waited_is_not_sent_to_a_process_that_ended_meanwhile():
    """Another program may have its port by then."""

    async def main():
        client = SlotClient("small", slots=1)
        client.begin("http://127.0.0.1:1/v1", None)
        client.serves = lambda _: False
        with pytest.raises(Broken, match="ended while the pass waited"):
            async for _ in client.stream("http://127.0.0.1:1/v1", Call(prompt=ask_user("a secret"))):
                pass
        client.serves = lambda _: True
        client.begin("http://127.0.0.1:2/v1", None)
        with pytest.raises(Broken, match="ended while the pass waited"):
            await client.whole("http://127.0.0.1:1/v1", Call(prompt=ask_user("a secret")))
        assert client.waiting == 0
        await client.close()

    frozen(main())


def test_a_pass_makes_the_text_of_its_prompt_once(monkeypatch):
    made: list[Call] = []

    def counted(call: Call) -> tuple[str, ...]:
        made.append(call)
        return prompt_text(call)

    async def answered(*_: object, **__: object) -> AsyncGenerator[list[Chunk]]:
        yield [Chunk(delta={"content": "Once"}), Chunk(finish="stop")]

    async def main():
        monkeypatch.setattr(llama_cpp_client, "prompt_text", counted)
        monkeypatch.setattr(ChatClient, "blocks", answered)
        client = SlotClient("small", slots=1)
        client.begin("http://127.0.0.1:1/v1", None)
        for number in (1, 2):
            async for _ in client.stream("http://127.0.0.1:1/v1", Call(prompt=ask_user("a story"))):
                pass
            assert len(made) == number
        await client.close()

    frozen(main())


def test_prompts_with_other_tools_share_nothing():
    assert shared_characters(text("a story", tools=[{"name": "a"}]), text("a story")) == 0
    assert shared_characters(text("a story", temperature=1), text("a story", temperature=0)) == sum(
        map(len, text("a story"))
    )


def test_a_prompt_that_is_not_valid_unicode_shares_nothing():
    assert text([{"type": "text", "text": "\ud800"}]) == ()


@given(st.lists(st.text(max_size=8)), st.lists(st.text(max_size=8)))
def test_shared_characters_are_those_of_the_common_beginning(one, other):
    mine, theirs = ("head", *one), ("head", *other)
    count = shared_characters(mine, theirs)
    assert count == shared_characters(theirs, mine)
    assert 4 <= count <= min(sum(map(len, mine)), sum(map(len, theirs)))
    assert "".join(mine)[:count] == "".join(theirs)[:count]


def test_several_processes_of_tierwise_lease_different_slots_and_all_of_them():
    async def main():
        clients = [SlotClient("own", slots=5, spare=1) for _ in range(2)]
        leased = []
        for number, client in enumerate(clients):
            client.part = Part(number, 2)
            client.begin("http://127.0.0.1:1/v1", None)
            slots = client._process.slots
            mine = [await slots._lease((), f"group {number}") for _ in range(2)]
            mine += [await slots._lease((), "")] if number == 0 else []  # its spare one
            leased.append({slot.number for slot in mine})
        assert leased == [{0, 2, 4}, {1, 3}]

    asyncio.run(main())
