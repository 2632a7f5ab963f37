"""openai-python's responses: an agent's turn with a tool, and a parsed answer that continues it. Arguments: base URL,
model, `plain` or `stream`.
"""

import sys
from typing import Any

from openai import OpenAI
from openai.types.responses import Response

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}

url, model, way = sys.argv[1:4]
client = OpenAI(base_url=url, api_key="none", max_retries=0)
talk = [{"role": "user", "content": "What is the weather in Oslo?"}]


def turn(**asked: Any) -> Response:
    if way == "plain":
        return client.responses.parse(model=model, tools=[TOOL], **asked)
    with client.responses.stream(model=model, tools=[TOOL], **asked) as stream:
        numbers = [event.sequence_number for event in stream]
        assert numbers == list(range(len(numbers))), numbers
        return stream.get_final_response()


for _ in range(3):
    response = turn(input=talk)
    calls = [item for item in response.output if item.type == "function_call"]
    talk += response.output
    if not calls:
        break
    talk += [{"type": "function_call_output", "call_id": call.call_id, "output": "17 degrees"} for call in calls]
assert response.status == "completed", response.status
assert response.usage.total_tokens > 0
again = turn(input="And now?", previous_response_id=response.id)
assert client.responses.retrieve(again.id).output_text == again.output_text
print(again.output_text)
