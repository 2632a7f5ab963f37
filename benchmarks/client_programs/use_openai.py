"""openai-python: an agent's turn with a tool, plain and streamed. Arguments: base URL, model, `plain` or `stream`."""

import sys

from openai import OpenAI
from openai.types.chat.chat_completion import Choice

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

url, model, way = sys.argv[1:4]
client = OpenAI(base_url=url, api_key="none", max_retries=0)
messages = [{"role": "user", "content": "What is the weather in Oslo?"}]


def turn() -> Choice:
    if way == "plain":
        return client.chat.completions.create(model=model, messages=messages, tools=[TOOL]).choices[0]
    with client.chat.completions.stream(model=model, messages=messages, tools=[TOOL]) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion().choices[0]


for _ in range(3):
    choice = turn()
    messages.append(choice.message.to_dict())
    if not choice.message.tool_calls:
        break
    assert choice.finish_reason == "tool_calls", choice.finish_reason
    calls = choice.message.tool_calls
    messages.extend({"role": "tool", "tool_call_id": call.id, "content": "17 degrees"} for call in calls)
print(messages[-1]["content"])
