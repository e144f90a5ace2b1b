// An app that encrypts its steps with a middleware. It keeps the values that its functions have
// seen: GET /counts.
import { createServer } from "node:http";
import { Inngest } from "inngest";
import { serve } from "inngest/node";
import { encryptionMiddleware } from "@inngest/middleware-encryption";

const silent = { info() {}, warn() {}, error() {}, debug() {} };
const middleware = [encryptionMiddleware({ key: "a key of the test" })];
const inngest = new Inngest({ id: "shop", baseUrl: process.env.SERVER, isDev: true, logger: silent, middleware });
const seen = {};

const receives = inngest.createFunction({ id: "receives", triggers: [{ event: "test/sealed" }] }, async ({ event, step }) => {
  seen.event = event.data.encrypted.card;
  return await step.run("copy", () => `copy of ${event.data.encrypted.card}`);
});

const sends = inngest.createFunction({ id: "sends", triggers: [{ event: "test/seals" }] }, async ({ step }) => {
  const first = await step.run("first", () => ({ card: "clear-text-1" }));
  await step.sleep("pause", "1s");
  const [a, b] = await Promise.all([step.run("a", () => first.card), step.run("b", () => "clear-text-2")]);
  await step.sendEvent("send", { name: "test/sealed", data: { encrypted: { card: a } } });
  seen.steps = [first.card, a, b];
  return { card: b };
});

const handler = serve({ client: inngest, functions: [receives, sends] });
const server = createServer((request, response) => {
  if (request.url === "/counts") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(seen));
  } else {
    handler(request, response);
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
