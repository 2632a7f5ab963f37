"""LangChain: an agent's turn with a tool. Arguments: base URL, model, `chat` or `responses`, `plain` or `stream`."""

import sys

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

url, model, api, way = sys.argv[1:5]


@tool
def get_weather(city: str) -> str:
    """Weather of a city."""
    return "17 degrees" if city else "unknown"


chat = ChatOpenAI(base_url=url, api_key="none", model=model, max_retries=0, use_responses_api=api == "responses")
bound = chat.bind_tools([get_weather])
messages = [HumanMessage("What is the weather in Oslo?")]
for _ in range(3):
    if way == "plain":
        answer = bound.invoke(messages)
    else:
        chunks = list(bound.stream(messages))
        answer = chunks[0]
        for chunk in chunks[1:]:
            answer = answer + chunk
    messages.append(answer)
    if not answer.tool_calls:
        break
    messages.extend(get_weather.invoke(call) for call in answer.tool_calls)
if api == "responses":
    assert answer.usage_metadata["total_tokens"] > 0
print(answer.text if isinstance(answer.text, str) else answer.text())
