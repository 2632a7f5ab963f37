// anthropic-node: an agent's turn with a tool, plain and streamed. Arguments: the client's package, base URL, model,
// `plain` or `stream`.

const [where, url, model, way] = process.argv.slice(2);
const { default: Anthropic } = await import(where);

const tool = {
  name: "get_weather",
  description: "Weather of a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const client = new Anthropic({ baseURL: url.replace(/\/v1$/, ""), apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the weather in Oslo?" }];

async function turn() {
  const asked = { model, max_tokens: 1024, messages, tools: [tool] };
  if (way === "plain") return client.messages.create(asked);
  return client.messages.stream(asked).finalMessage();
}

let message;
for (let count = 0; count < 3; count++) {
  message = await turn();
  messages.push({ role: "assistant", content: message.content });
  const calls = message.content.filter((block) => block.type === "tool_use");
  if (!calls.length) break;
  if (message.stop_reason !== "tool_use") throw new Error(`stop_reason ${message.stop_reason}`);
  if (calls[0].input.city !== "Oslo") throw new Error(`input ${JSON.stringify(calls[0].input)}`);
  const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: "17 degrees" }));
  messages.push({ role: "user", content: results });
}
console.log(message.content.at(-1).text);
