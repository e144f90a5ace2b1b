// An app whose first answer of each function breaks off. It counts how often each body has been
// executed: GET /counts.
import { createServer } from "node:http";
import { Inngest } from "inngest";
import { serve } from "inngest/node";

const silent = { info() {}, warn() {}, error() {}, debug() {} };
const inngest = new Inngest({ id: "shop", baseUrl: process.env.SERVER, isDev: true, logger: silent });
const counts = {};

const steps = async ({ step, runId }) => {
  const body = (name) => () => (counts[`${runId} ${name}`] = (counts[`${runId} ${name}`] ?? 0) + 1);
  const all = [];
  for (const name of ["a", "b", "c"]) all.push(await step.run(name, body(name)));
  return all;
};
const on = (id, options) => ({ id, triggers: [{ event: `test/${id}` }], ...options });
const functions = [
  inngest.createFunction(on("cut", { checkpointing: false }), steps),
  inngest.createFunction(on("recorded"), steps),
];
const handler = serve({ client: inngest, functions });
// the functions of which half an answer has been sent
const halved = new Set();
const server = createServer((request, response) => {
  const called = new URL(request.url, "http://app").searchParams.get("fnId");
  if (request.url === "/counts") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(counts));
    return;
  }
  if (called && !halved.has(called)) {
    halved.add(called);
    response.end = (body) => response.write(body.slice(0, body.length / 2), () => response.socket.destroy());
  }
  handler(request, response);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
