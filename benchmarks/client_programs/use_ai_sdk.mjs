// AI SDK with the defaults of @ai-sdk/openai, which uses /v1/responses: an agent with a tool. Arguments: base URL, model,
// `plain` or `stream`.

import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [url, model, way] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: url, apiKey: "none" });
const asked = {
  model: openai(model),
  prompt: "What is the weather in Oslo?",
  maxRetries: 0,
  stopWhen: stepCountIs(4),
  tools: {
    get_weather: tool({
      description: "Weather of a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => (city === "Oslo" ? "17 degrees" : "unknown"),
    }),
  },
};
let done;
if (way === "plain") {
  done = await generateText(asked);
} else {
  const stream = streamText({ ...asked, onError: ({ error }) => { throw error; } });
  await stream.consumeStream();
  done = stream;
}
const steps = await done.steps;
assert.equal(steps.length, 2, `${steps.length} steps`);
assert((await done.usage).totalTokens > 0);
console.log(await done.text);
