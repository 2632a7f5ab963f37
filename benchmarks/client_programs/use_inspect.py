"""Inspect: an evaluation of one sample whose solver uses a tool. Arguments: base URL, model, log folder."""

import sys

import inspect_ai
from inspect_ai.dataset import Sample
from inspect_ai.model import get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import Tool, tool

url, model, folder = sys.argv[1:4]


@tool
def get_weather() -> Tool:
    async def execute(city: str) -> str:
        """Weather of a city.

        Args:
            city: Name of the city.
        """
        return "17 degrees" if city else "unknown"

    return execute


task = inspect_ai.Task(
    dataset=[Sample(input="What is the weather in Oslo?", target="17")],
    solver=[use_tools(get_weather()), generate()],
    scorer=includes(),
)
served = get_model(f"openai-api/tierwise/{model}", base_url=url, api_key="none", responses_api=False)
(log,) = inspect_ai.eval(task, model=served, display="none", log_dir=folder, max_retries=0)
assert log.status == "success", log.error
print(log.samples[0].output.completion)
assert log.results.scores[0].metrics["accuracy"].value == 1.0
