// An app with functions of the `inngest` package that runs against the roles on Lambda. It serves
// them over HTTP, or as a Lambda function: POST /invoke with an event. It counts how often each
// body has been executed: GET /counts.
import { createServer } from "node:http";
import { Inngest, RetryAfterError } from "inngest";
import { serve } from "inngest/node";
import { serve as serveLambda } from "inngest/lambda";

const silent = { info() {}, warn() {}, error() {}, debug() {} };
const inngest = new Inngest({ id: "shop", baseUrl: process.env.SERVER, logger: silent });
const counts = {};
const headers = [];

function count(runId, step) {
  const key = `${runId} ${step}`;
  counts[key] = (counts[key] ?? 0) + 1;
  return counts[key];
}

const order = inngest.createFunction({ id: "order", triggers: [{ event: "shop/ordered" }] }, async ({ event, step, runId }) => {
  const reserved = await step.run("reserve", () => count(runId, "reserve"));
  const charged = await step.run("charge", () => {
    if (count(runId, "charge") === 1) throw new RetryAfterError("later", 1000);
    return `${event.data.item} charged`;
  });
  await step.sleep("pause", "1s");
  const paid = await step.waitForEvent("paid", { event: "shop/paid", timeout: "1h", match: "data.item" });
  const [a, b] = await Promise.all([
    step.run("mail", () => count(runId, "mail")),
    step.run("ship", () => count(runId, "ship")),
  ]);
  const { ids } = await step.sendEvent("tell", { name: "shop/shipped", data: { item: event.data.item } });
  return { reserved, charged, by: paid?.data.by, both: a + b, sent: ids.length };
});

const shipped = inngest.createFunction({ id: "shipped", triggers: [{ event: "shop/shipped" }] }, async ({ event }) => event.data.item);

const calls = { id: "calls", checkpointing: false, triggers: [{ event: "shop/calls" }] };
const oneByOne = inngest.createFunction(calls, async ({ step, runId }) => {
  const all = [];
  for (const name of ["a", "b", "c"]) all.push(await step.run(name, () => count(runId, name)));
  return all;
});

// both runs must be in their bodies at the same time
const waiting = [];
const together = inngest.createFunction({ id: "together", triggers: [{ event: "shop/together" }] }, async ({ step, runId }) => {
  return step.run("meet", () => {
    count(runId, "meet");
    return new Promise((resolve) => {
      waiting.push(resolve);
      if (waiting.length === 2) waiting.splice(0).forEach((resume) => resume("met"));
    });
  });
});

const functions = [order, shipped, oneByOne, together];
const overHttp = serve({ client: inngest, functions });
const asLambda = serveLambda({ client: inngest, functions });

async function text(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

const server = createServer(async (request, response) => {
  if (request.url === "/counts") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(counts));
  } else if (request.url === "/signatures") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(headers));
  } else if (request.url === "/invoke") {
    const event = JSON.parse(await text(request));
    const answer = await asLambda(event, {});
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(answer));
  } else {
    headers.push(request.headers["x-inngest-signature"] ?? null);
    overHttp(request, response);
  }
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(server.address().port));
