// Official clients in JavaScript: run by a Node of their own. Arguments: URL, key.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import { generateText, Output, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [url, key] = process.argv.slice(2);
const ask = [{ role: "user", content: "hello" }];
const call = [{ role: "user", content: "please call the tool" }];
const parameters = { type: "object", required: ["place"], properties: { place: { type: "string" } } };
const Trip = z.object({ place: z.string(), days: z.number() });
const trip = { place: "Oslo", days: 2 };

async function openai() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const tools = [{ type: "function", function: { name: "weather", parameters } }];
  assert.ok((await client.chat.completions.create({ model: "gpt", messages: ask })).choices[0].message.content);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model: "claude", messages: ask, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  assert.ok(text);
  const told = await client.chat.completions.create({ model: "gpt", messages: call, tools });
  assert.equal(told.choices[0].message.tool_calls[0].function.name, "weather");
  const parsed = await client.responses.parse({ model: "json", input: "x", text: { format: zodTextFormat(Trip, "trip") } });
  assert.deepEqual(parsed.output_parsed, trip);
  assert.ok((await client.responses.stream({ model: "gpt", input: "x" }).finalResponse()).output_text);
  await assert.rejects(client.chat.completions.create({ model: "nothing", messages: ask }), OpenAI.NotFoundError);
}

async function anthropic() {
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const tools = [{ name: "weather", input_schema: parameters }];
  const asked = { max_tokens: 64, messages: ask };
  assert.equal((await client.messages.create({ model: "claude", ...asked })).content[0].type, "text");
  assert.ok(await client.messages.stream({ model: "gpt", ...asked }).finalText());
  const told = await client.messages.create({ model: "claude", max_tokens: 64, messages: call, tools });
  assert.equal(told.content.find((block) => block.type === "tool_use").name, "weather");
  await assert.rejects(client.messages.create({ model: "nothing", ...asked }), Anthropic.NotFoundError);
}

async function google() {
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } });
  assert.ok((await client.models.generateContent({ model: "gem", contents: "hello" })).text);
  let text = "";
  for await (const chunk of await client.models.generateContentStream({ model: "gpt", contents: "hello" })) {
    text += chunk.text ?? "";
  }
  assert.ok(text);
  const config = { tools: [{ functionDeclarations: [{ name: "weather", parametersJsonSchema: parameters }] }] };
  const told = await client.models.generateContent({ model: "gem", contents: "please call the tool", config });
  assert.equal(told.functionCalls[0].name, "weather");
  await assert.rejects(client.models.generateContent({ model: "nothing", contents: "x" }), /nothing/);
}

async function vercel(provider) {
  const weather = tool({ description: "Of a place", inputSchema: z.object({ place: z.string() }) });
  assert.ok((await generateText({ model: provider("gpt"), prompt: "hello", maxRetries: 0 })).text);
  assert.ok(await streamText({ model: provider("claude"), prompt: "hello", maxRetries: 0 }).text);
  const told = await generateText({ model: provider("claude"), prompt: "please call the tool", tools: { weather } });
  assert.equal(told.toolCalls[0].toolName, "weather");
  await assert.rejects(generateText({ model: provider("nothing"), prompt: "x", maxRetries: 0 }), /nothing/);
}

async function vercelOpenai() {
  const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
  await vercel(provider);
  await vercel(provider.chat);
  const output = Output.object({ schema: Trip });
  assert.deepEqual((await generateText({ model: provider.chat("json"), prompt: "x", output })).output, trip);
}

async function vercelAnthropic() {
  await vercel(createAnthropic({ baseURL: `${url}/v1`, apiKey: key }));
}

for (const run of [openai, anthropic, google, vercelOpenai, vercelAnthropic]) {
  await run();
  console.log(run.name);
}
