// OpenAI's realtime clients in JavaScript, which insist on TLS. Arguments: URL, key.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });

async function said(Session) {
  const session = new Session({ model: "gpt" }, client);
  const done = await new Promise((resolve, reject) => {
    session.on("error", reject);
    session.on("session.created", () => session.send({ type: "response.create" }));
    session.on("response.done", resolve);
  });
  assert.equal(done.response.status, "completed");
  session.close();
}

// The first tells its key in a header, the second in a sub-protocol, as browsers must.
for (const Session of [OpenAIRealtimeWS, OpenAIRealtimeWebSocket]) {
  await said(Session);
  console.log(Session.name);
}
