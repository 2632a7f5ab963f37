"""LlamaIndex: a text and an agent with a tool, plain and streamed, and a refusal. Arguments: base URL, model, class.

`OpenAI` and `OpenAIResponses` have their defaults, and with those they know OpenAI's names of models only: they ask for
a deployment of such a name, and for the tier by `service_tier`.
"""

import asyncio
import sys

import openai
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import LLM, ChatMessage
from llama_index.llms.openai import OpenAI, OpenAIResponses
from llama_index.llms.openai_like import OpenAILike

url, tier, kind = sys.argv[1:4]
QUESTION = "What is the weather in Oslo?"
KNOWN, MISSING = "gpt-4o", "gpt-4o-mini"


def get_weather(city: str) -> str:
    """Weather of a city."""
    return "17 degrees" if city == "Oslo" else "unknown"


def model(name: str = KNOWN) -> LLM:
    settings = {"api_base": url, "api_key": "none", "max_retries": 0}
    if kind == "OpenAILike":
        own = tier if name == KNOWN else name
        return OpenAILike(model=own, is_chat_model=True, is_function_calling_model=True, **settings)
    found = {"OpenAI": OpenAI, "OpenAIResponses": OpenAIResponses}[kind]
    return found(model=name, additional_kwargs={"service_tier": tier}, **settings)


async def agent(streams: bool) -> str:
    """The answer of an agent that has a tool."""
    called: list[str] = []

    def tool(city: str) -> str:
        called.append(city)
        return get_weather(city)

    tool.__name__, tool.__doc__ = get_weather.__name__, get_weather.__doc__
    answer = await FunctionAgent(tools=[tool], llm=model(), streaming=streams).run(QUESTION)
    assert called == ["Oslo"], called
    return str(answer)


talk = [ChatMessage(role="user", content=QUESTION)]
whole = model().chat(talk)
pieces = list(model().stream_chat(talk))
assert "".join(piece.delta or "" for piece in pieces) == pieces[-1].message.content, pieces
said = [whole.message.content, pieces[-1].message.content, *(asyncio.run(agent(way)) for way in (False, True))]
for text in said:
    assert "17 degrees" in text, said
try:
    model(MISSING).chat(talk)
except openai.NotFoundError as error:
    is_refused = error.code == "model_not_found" and MISSING in error.message
else:
    is_refused = False
assert is_refused, "it was not refused as a model that is not there"
print("all as it should be")
