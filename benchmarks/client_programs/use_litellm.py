"""LiteLLM's SDK: a text and an agent's turn with a tool, plain and streamed, and a refusal. Arguments: base URL, model,
route.

Routes: `chat` asks for chat completions; `bridge` asks the Responses API, and `anthropic` Anthropic's, in the words of
chat completions; `responses` asks the Responses API in its own; `messages` is a call in Anthropic's words, which
LiteLLM translates for a provider of OpenAI's APIs.
"""

import asyncio
import json
import sys
from typing import Any

import litellm

url, model, route = sys.argv[1:4]
QUESTION = "What is the weather in Oslo?"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": CITY}}
NAMES = {
    "chat": f"openai/{model}",
    "bridge": f"openai/responses/{model}",
    "anthropic": f"anthropic/{model}",
    "responses": f"openai/{model}",
    "messages": f"openai/{model}",
}
base = url.removesuffix("/v1") if route == "anthropic" else url
settings = {"model": NAMES[route], "api_base": base, "api_key": "none", "max_retries": 0, "stream": False}


def completion(talk: list[Any], **more: Any) -> Any:
    """The message of a chat completion."""
    answer = litellm.completion(messages=talk, **settings, **more)
    if settings["stream"]:
        answer = litellm.stream_chunk_builder(list(answer), messages=talk)
    assert answer.usage.completion_tokens > 0, answer.usage
    choice = answer.choices[0]
    assert choice.finish_reason == ("tool_calls" if choice.message.tool_calls else "stop"), choice.finish_reason
    return choice.message


def chat() -> str:
    text = completion([{"role": "user", "content": QUESTION}]).content
    assert "17 degrees" in text, text
    talk: list[Any] = [{"role": "user", "content": QUESTION}]
    for _ in range(3):
        message = completion(talk, tools=[TOOL])
        talk.append(message)
        if not message.tool_calls:
            break
        for call in message.tool_calls:
            assert json.loads(call.function.arguments) == {"city": "Oslo"}, call
            talk.append({"role": "tool", "tool_call_id": call.id, "content": "17 degrees"})
    return str(talk[-1].content)


def response(talk: list[Any], **more: Any) -> Any:
    """A finished response."""
    answer = litellm.responses(input=talk, **settings, **more)
    if settings["stream"]:
        answer = list(answer)[-1].response
    assert answer.status == "completed", answer.status
    assert answer.usage.total_tokens > 0, answer.usage
    return answer


def responses() -> str:
    assert "17 degrees" in text_of(response([{"role": "user", "content": QUESTION}]))
    talk: list[Any] = [{"role": "user", "content": QUESTION}]
    tool = {"type": "function", "name": "get_weather", "description": "Weather of a city", "parameters": CITY}
    for _ in range(3):
        answer = response(talk, tools=[tool])
        calls = [item for item in answer.output if item.type == "function_call"]
        talk += [item.model_dump(exclude_none=True) for item in answer.output]
        if not calls:
            break
        talk += [{"type": "function_call_output", "call_id": call.call_id, "output": "17 degrees"} for call in calls]
    return text_of(answer)


def text_of(answer: Any) -> str:
    return "".join(part.text for item in answer.output if item.type == "message" for part in item.content)


async def blocks_of(talk: list[Any], **more: Any) -> list[dict[str, Any]]:
    """The content blocks of a message, joined if they were streamed."""
    answer = await litellm.anthropic.messages.acreate(messages=talk, max_tokens=1024, **settings, **more)
    if not settings["stream"]:
        return list(answer["content"])
    blocks: list[dict[str, Any]] = []
    async for line in answer:
        for event in events(line):
            match event["type"]:
                case "content_block_start":
                    blocks.append({**event["content_block"], "said": ""})
                case "content_block_delta":
                    delta = event["delta"]
                    blocks[event["index"]]["said"] += delta.get("text") or delta.get("partial_json") or ""
    for block in blocks:
        said = block.pop("said")
        block.update({"input": json.loads(said)} if block["type"] == "tool_use" else {"text": said})
    return blocks


def events(line: Any) -> list[dict[str, Any]]:
    """What a piece of a stream says, which may be events as bytes."""
    if isinstance(line, dict):
        return [line]
    lines = bytes(line).decode().splitlines()
    return [json.loads(one.removeprefix("data: ")) for one in lines if one.startswith("data: ")]


async def messages() -> str:
    tool = {"name": "get_weather", "description": "Weather of a city", "input_schema": CITY}
    blocks = await blocks_of([{"role": "user", "content": QUESTION}])
    assert "17 degrees" in blocks[-1]["text"], blocks
    talk: list[Any] = [{"role": "user", "content": QUESTION}]
    for _ in range(3):
        blocks = await blocks_of(talk, tools=[tool])
        talk.append({"role": "assistant", "content": blocks})
        calls = [block for block in blocks if block["type"] == "tool_use"]
        if not calls:
            break
        assert calls[0]["input"] == {"city": "Oslo"}, calls
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "17 degrees"} for call in calls]
        talk.append({"role": "user", "content": results})
    return str(blocks[-1]["text"])


def refused() -> None:
    """Checks what LiteLLM makes of a model that is not there."""
    settings["model"] = settings["model"].replace(model, f"{model}-missing")
    talk: list[Any] = [{"role": "user", "content": QUESTION}]
    try:
        match route:
            case "responses":
                response(talk)
            case "messages":
                asyncio.run(blocks_of(talk))
            case _:
                completion(talk)
    except litellm.NotFoundError as error:
        is_ours = error.status_code == 404 and f"{model}-missing" in str(error)
    else:
        is_ours = False
    assert is_ours, "it was not refused as a model that is not there"


for stream in (False, True):
    settings["stream"] = stream
    answer = {"responses": responses, "messages": lambda: asyncio.run(messages())}.get(route, chat)()
    assert "17 degrees" in answer, answer
refused()
print("all as it should be")
