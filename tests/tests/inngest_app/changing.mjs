// An app whose code changes between the call that lists a step and the call that executes it. It
// counts how often each body has been executed: GET /counts.
import { createServer } from "node:http";
import { Inngest } from "inngest";
import { serve } from "inngest/node";

const silent = { info() {}, warn() {}, error() {}, debug() {} };
const inngest = new Inngest({ id: "shop", baseUrl: process.env.SERVER, isDev: true, logger: silent });
const counts = {};
// the functions whose code has changed
const changed = new Set();

function count(runId, step) {
  const key = `${runId} ${step}`;
  counts[key] = (counts[key] ?? 0) + 1;
  return counts[key];
}

const retried = (id, retries) =>
  inngest.createFunction({ id, retries, triggers: [{ event: `test/${id}` }] }, async ({ step, runId }) => {
    if (changed.has(`shop-${id}`)) return await step.run("new", () => count(runId, "new"));
    return await step.run("gone", () => {
      count(runId, "gone");
      throw new Error("not yet");
    });
  });

const beside = inngest.createFunction({ id: "beside", triggers: [{ event: "test/beside" }] }, async ({ step, runId }) => {
  const second = changed.has("shop-beside") ? "new" : "gone";
  return await Promise.all(["a", second].map((id) => step.run(id, () => count(runId, id))));
});

const handler = serve({ client: inngest, functions: [retried("retried", 3), retried("last", 1), beside] });
const server = createServer((request, response) => {
  const query = new URL(request.url, "http://app").searchParams;
  if (query.has("stepId") && query.get("stepId") !== "step") changed.add(query.get("fnId"));
  if (request.url === "/counts") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(counts));
  } else {
    handler(request, response);
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
