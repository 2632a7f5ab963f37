"""The client of a llama.cpp that Tierwise launched: it leases the slots, and computes a prompt once for several passes.

Several passes with one prompt would each compute it, because each slot has a cache of its own. So the prompt is
computed once in a leased slot, whose state is saved to a file and restored into the slot of every pass. The passes stay
requests of their own, with their own seeds, counts and aborts. llama.cpp's `n` would share the prompt too, but waits
until n slots are free, counts one choice, and ends all choices when one is aborted.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from tierwise.engines.engine import PassOn
from tierwise.engines.llama_cpp.prompt_text import PromptText, prompt_text, shared_characters, with_answer
from tierwise.engines.llama_cpp.saved_prompts import SavedPrompt, SavedPrompts, prefill_pays, restore_pays
from tierwise.engines.llama_cpp.slots import Slot, Slots
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.wire import LLAMA_CPP_COUNTS
from tierwise.engines.part import Part
from tierwise.spec.call import Call
from tierwise.spec.errors import Broken, EngineError, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from tierwise.spec.call import Chunk, Usage
    from tierwise.spec.json import Fields
    from tierwise.spec.prompt import Prompt

_LEAST_KEPT = 1024
"""The fewest characters of what a slot holds so that it is saved before a file overwrites it."""

_ACTION_SECONDS = 60.0
_CONTROL_SECONDS = 5.0
_MOST_MISSES = 3
"""Consecutive saves that failed, or restored prompts that were computed all the same, after which prompts are no longer
shared."""

_NOT_OF_A_PREFILL = ("logprobs", "top_logprobs", "stop", "min_tokens")


class _Action(msgspec.Struct):
    """What llama.cpp answers after a slot was saved or restored."""

    n_saved: int = 0
    n_written: int = 0
    n_restored: int = 0


class _Control(msgspec.Struct):
    """What llama.cpp answers to a request to end thinking."""

    success: bool = False


class _Process:
    """What is known of one process: its slots, and the prompts that it saved.

    Args:
        base_url: its URL, which no other process has at the same time.
        slots: its slots.
        folder: where it saves slots; None if it cannot.
        most_bytes: size of the saved files.
        prefix: what their names begin with: other processes of Tierwise may save in the same folder.
    """

    def __init__(self, base_url: str, slots: Slots, folder: Path | None, most_bytes: int, prefix: str = "") -> None:
        self.base_url = base_url
        self.slots = slots
        self.saved = None if folder is None else SavedPrompts(folder, most_bytes, prefix)
        self.misses = 0
        self.failed_saves = 0
        self.remarks: list[str] = []
        """What the next trace should say."""
        self.knows_size = False
        """Whether a remark says that a prompt is too large."""

    def stop_saving(self, why: str) -> None:
        """Compute the prompt of every pass from here on."""
        if self.saved is not None:
            self.saved = None
            self.remarks.append(f"{why}; the prompt of every pass is computed from here on")


class SlotClient(ChatClient):
    """A chat client that chooses the slot of every pass.

    Args:
        name: the deployment's, for error messages and as `model`.
        slots: number of slots of a process.
        spare: how many of them groups of passes leave free.
        most_bytes: size of the saved prompts of a process.
        translate: as for `ChatClient`.
        thinking_off: as for `ChatClient`.
    """

    def __init__(
        self,
        name: str,
        *,
        slots: int,
        spare: int = 0,
        most_bytes: int = 0,
        translate: Callable[[Fields], Fields] | None = None,
        thinking_off: Fields | None = None,
    ) -> None:
        super().__init__(name, name, extras=LLAMA_CPP_COUNTS, translate=translate, thinking_off=thinking_off)
        self._slots, self._spare, self._most_bytes = slots, spare, most_bytes
        self.part = Part()
        """Which of the slots are leased here."""
        self._process = _Process("", Slots(slots, spare), None, 0)
        self._saves: set[asyncio.Task[None]] = set()
        self.serves: Callable[[str], bool] = lambda _: True
        """Whether the process at a URL is still the one that holds its port."""

    async def close(self) -> None:
        for save in self._saves:
            save.cancel()
        await super().close()

    def begin(self, base_url: str, folder: Path | None) -> None:
        """Expect a new process, which saves slots in `folder`."""
        part = self.part
        spare = max(0, part.of(self._slots) - part.of(self._slots - self._spare))
        slots = Slots(part.of(self._slots), spare, first=part.number, step=part.count)
        self._process = _Process(base_url, slots, folder, self._most_bytes // part.count, prefix=f"{part.number}-")

    @property
    def waiting(self) -> int:
        return self._process.slots.waiting

    def prefill(self, call: Call, passes: int) -> Call | None:
        """As `engine.SharesPrompts`."""
        saved, prompt = self._process.saved, prompt_text(call)
        if saved is None or not prompt:
            return None
        shared = saved.best(prompt)[0]
        known = shared / sum(map(len, prompt)) if restore_pays(shared) else 0.0
        if not prefill_pays(call, passes, known):
            return None
        if not saved.fits(prompt):
            if not self._process.knows_size:
                self._process.knows_size = True
                self._process.remarks.append(
                    "had no room to save a prompt for the passes that share it, so each of them computes it; raise "
                    "`prompt_cache_mib`"
                )
            return None
        return replace(
            call,
            prompt=call.prompt.without(*_NOT_OF_A_PREFILL).bounded(1),
            role="prefill",
            candidate=False,
            draw=0,
            sends_seed=False,
            streamed=True,
            group="",
            is_prefill=True,
        )

    async def end_thinking(self, base_url: str, completion_id: str) -> bool:
        """As `engine.ControlsThinking`, on the process at `base_url`."""
        body = [msgspec.json.encode({"id": completion_id, "action": "reasoning_end"})]
        try:
            async with (
                asyncio.timeout(_CONTROL_SECONDS),
                await self._post(f"{base_url}/chat/completions/control", body, {}) as response,
            ):
                return response.status == 200 and msgspec.json.decode(await response.read(), type=_Control).success
        except (aiohttp.ClientError, TimeoutError, EngineError, msgspec.DecodeError):
            return False

    async def blocks(
        self, base_url: str, call: Call, *, at_once: bool = False, pass_on: PassOn | None = None
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        if not self._request.streams(call):  # then `whole` leases the slot
            async with aclosing(super().blocks(base_url, call)) as blocks:
                async for chunks in blocks:
                    yield chunks
            return
        prompt, answer = prompt_text(call), list[str]()
        usage: Usage | None = None
        async with self._leased(base_url, call, prompt) as (process, slot, restored):

            def note(chunk: Chunk) -> None:
                nonlocal usage
                usage = chunk.usage or usage
                if isinstance(text := chunk.delta.get("content"), str):
                    answer.append(text)

            def noted(chunks: Sequence[Chunk]) -> bool:
                assert pass_on is not None  # noqa: S101 - else it is not called
                for chunk in chunks:
                    note(chunk)
                return pass_on(chunks)

            passes_on = None if pass_on is None else noted
            asked = _in_slot(call, slot)
            async with aclosing(super().blocks(base_url, asked, at_once=at_once, pass_on=passes_on)) as blocks:
                async for chunks in blocks:
                    said = list(chunks)
                    for number, chunk in enumerate(chunks):
                        note(chunk)
                        if chunk.finish is not None:
                            self._compare(process, restored, usage)
                            if process.remarks and not chunk.remark:
                                said[number] = msgspec.structs.replace(chunk, remark="; ".join(process.remarks))
                                process.remarks.clear()
                    slot.holds = prompt
                    yield said
            if call.is_prefill:
                # To its end even if the pass is cancelled: llama.cpp would write the file anyway.
                save = asyncio.create_task(self._save(process, slot, prompt))
                self._saves.add(save)
                save.add_done_callback(self._saves.discard)
                await asyncio.shield(save)
            elif answer:
                slot.holds = with_answer(prompt, "".join(answer))

    async def whole(self, base_url: str, call: Call) -> bytes:
        if call.prompt.embeds is not None:
            why = f"deployment {self._name!r} has no embeddings; run `llama-server --embeddings` behind `engine: http`"
            raise Refused(why, engine=self._name)
        if call.prompt.raw is not None and call.prompt.fields.get("echo"):
            why = "echo: llama.cpp neither repeats a prompt nor has its log-probabilities; use vLLM, or leave it out"
            raise Refused(why, engine=self._name)
        prompt = prompt_text(call)
        async with self._leased(base_url, call, prompt) as (_, slot, _):
            body = await super().whole(base_url, _in_slot(call, slot))
            slot.holds = prompt
            return body

    async def count_tokens(self, base_url: str, prompt: Prompt) -> int:
        """The tokens of a prompt, as llama.cpp's own template and tokenizer make them. It cannot count images."""
        parts = (message.get("content") for message in prompt.messages)
        if any(isinstance(content, list) and any(_is_image(part) for part in content) for content in parts):
            raise Refused(f"deployment {self._name!r} cannot count the tokens of images", engine=self._name)
        call = Call(prompt=prompt)
        body = await self._request.encode(call, streamed=False)
        text = (await self._asked(base_url, "/apply-template", body, call)).get("prompt")
        asked = {"content": text, "add_special": True, "parse_special": True}
        tokens = (await self._asked(base_url, "/tokenize", [msgspec.json.encode(asked)], call)).get("tokens")
        if not isinstance(tokens, list):
            raise self._garbled("sent no `tokens` from /tokenize")
        return len(tokens)

    @asynccontextmanager
    async def _leased(
        self, base_url: str, call: Call, prompt: PromptText
    ) -> AsyncGenerator[tuple[_Process, Slot, SavedPrompt | None]]:
        """A slot for a pass, with the best state that there is for its prompt: the saved prompt, if one was restored.

        What the slot holds is unknown until the pass has begun.

        Raises:
            Broken: the process ended while the pass waited for a slot.
        """
        process = self._process
        async with process.slots.leased(prompt, call.group) as slot:
            if process.base_url != base_url or not self.serves(base_url):
                text = f"deployment {self._name!r} ended while the pass waited for a slot"
                raise Broken(text, engine=self._name)
            held, slot.holds = slot.holds, ()
            wants_cached = call.prompt.fields.get("cache_prompt") is not False
            restored = await self._restore(process, slot, held, prompt) if wants_cached else None
            yield process, slot, restored

    async def _restore(self, process: _Process, slot: Slot, held: PromptText, prompt: PromptText) -> SavedPrompt | None:
        """Restore the best saved prompt into a slot, if it has more of the prompt than the slot holds."""
        saved = process.saved
        if saved is None or not prompt:
            return None
        shared, best = saved.best(prompt)
        if best is None or not restore_pays(shared, shared_characters(held, prompt)):
            return None
        saved.touch(best)
        await self._keep_displaced(process, slot, held)
        if process.saved is not saved or saved.exact(best.prompt) is not best:  # it had to make room
            return None
        done = await self._act(process, slot, "restore", best.file)
        if done is None or done.n_restored != best.tokens:
            saved.forget(best)
            process.remarks.append("did not restore a saved prompt, so it was computed again")
            return None
        return best

    async def _keep_displaced(self, process: _Process, slot: Slot, held: PromptText) -> None:
        """Save what a slot holds before it is overwritten, unless most of it is saved already.

        llama.cpp does so itself when a request overwrites a slot, but not when a file does.
        """
        size = sum(map(len, held))
        if process.saved is not None and size >= _LEAST_KEPT and process.saved.best(held)[0] < size / 2:
            await self._save(process, slot, held)

    async def _save(self, process: _Process, slot: Slot, prompt: PromptText) -> None:
        saved = process.saved
        if saved is None or not prompt or (file := saved.next_file(prompt)) is None:
            return
        done = await self._act(process, slot, "save", file)
        if done is None or not done.n_saved or not done.n_written:
            saved.discard(file)
            process.failed_saves += 1
            if process.failed_saves >= _MOST_MISSES:
                process.stop_saving("could not save a slot")
        else:
            process.failed_saves = 0
            saved.add(SavedPrompt(file=file, prompt=prompt, tokens=done.n_saved, size=done.n_written))

    def _compare(self, process: _Process, restored: SavedPrompt | None, usage: Usage | None) -> None:
        """Whether llama.cpp used a restored prompt. Some models cannot continue a saved state."""
        if restored is None or usage is None:
            return
        if usage.cached >= 0.9 * min(restored.tokens, usage.prompt) - 1:
            process.misses = 0
            return
        process.misses += 1
        if process.saved is not None:
            process.saved.forget(restored)
        if process.misses >= _MOST_MISSES:
            process.stop_saving(f"used {usage.cached} of {restored.tokens} tokens of a restored prompt")

    async def _act(self, process: _Process, slot: Slot, action: str, file: str) -> _Action | None:
        """Save or restore a slot; None if that failed for whatever reason: the pass then computes its prompt."""
        url = f"{process.base_url.removesuffix('/v1')}/slots/{slot.number}?action={action}"
        try:
            async with asyncio.timeout(_ACTION_SECONDS):
                async with await self._post(url, [msgspec.json.encode({"filename": file})], {}) as response:
                    body = await response.read()
                    return msgspec.json.decode(body, type=_Action) if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, EngineError):
            return None


def _is_image(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") != "text"


def _in_slot(call: Call, slot: Slot) -> Call:
    fields: dict[str, Any] = {"id_slot": slot.number}
    return replace(call, prompt=call.prompt.setting(**fields))
