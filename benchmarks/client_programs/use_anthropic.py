"""anthropic-python: an agent's turn with a tool. Arguments: base URL, model, `plain` or `stream`."""

import sys

import anthropic

TOOL = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

url, model, way = sys.argv[1:4]
client = anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="none", max_retries=0)
messages = [{"role": "user", "content": "What is the weather in Oslo?"}]


def turn() -> anthropic.types.Message:
    asked = {"model": model, "max_tokens": 1024, "messages": messages, "tools": [TOOL]}
    if way == "plain":
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        for _ in stream:
            pass
        return stream.get_final_message()


for _ in range(3):
    message = turn()
    assert message.usage.output_tokens > 0, message.usage
    messages.append({"role": "assistant", "content": message.content})
    calls = [block for block in message.content if block.type == "tool_use"]
    if not calls:
        break
    assert message.stop_reason == "tool_use", message.stop_reason
    assert calls[0].input == {"city": "Oslo"}, calls[0].input
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "17 degrees"} for call in calls]
    messages.append({"role": "user", "content": results})
print(message.content[-1].text)
