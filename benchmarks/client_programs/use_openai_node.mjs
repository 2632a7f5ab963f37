// openai-node: an agent's turn with a tool, as chat completions or as responses. Arguments: base URL, model, `chat`,
// `chat-stream`, `responses` or `responses-stream`.

import assert from "node:assert";
import OpenAI from "openai";
import { zodResponsesFunction } from "openai/helpers/zod";
import { z } from "zod";

const [url, model, way] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const question = { role: "user", content: "What is the weather in Oslo?" };

async function chat() {
  const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
  const messages = [question];
  for (let turn = 0; turn < 3; turn++) {
    const asked = { model, messages, tools };
    const done =
      way === "chat"
        ? await client.chat.completions.create(asked)
        : await client.chat.completions.stream(asked).finalChatCompletion();
    const { message } = done.choices[0];
    messages.push(message);
    if (!message.tool_calls?.length) return message.content;
    for (const call of message.tool_calls) {
      messages.push({ role: "tool", tool_call_id: call.id, content: "17 degrees" });
    }
  }
}

async function responses() {
  const tools = [zodResponsesFunction({ name: "get_weather", parameters: z.object({ city: z.string() }) })];
  const input = [question];
  for (let turn = 0; turn < 3; turn++) {
    const asked = { model, input, tools };
    const response =
      way === "responses"
        ? await client.responses.parse(asked)
        : await client.responses.stream(asked).finalResponse();
    const calls = response.output.filter((item) => item.type === "function_call");
    input.push(...response.output.map(({ parsed_arguments, ...item }) => item));
    if (!calls.length) {
      const next = await client.responses.create({ model, input: "And now?", previous_response_id: response.id });
      return next.output_text;
    }
    assert.equal(calls[0].parsed_arguments.city, "Oslo");
    for (const call of calls) {
      input.push({ type: "function_call_output", call_id: call.call_id, output: "17 degrees" });
    }
  }
}

console.log(await (way.startsWith("chat") ? chat() : responses()));
