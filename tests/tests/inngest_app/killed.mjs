// An app that records when the bodies of its steps begin and end, and how the server answers its
// checkpoints: GET /log. The first body of each step `long` waits for GET /release.
import { createServer } from "node:http";
import { Inngest } from "inngest";
import { serve } from "inngest/node";

const silent = { info() {}, warn() {}, error() {}, debug() {} };
const log = { bodies: [], checkpoints: [] };
const recorded = async (url, request) => {
  const answer = await fetch(url, request);
  if (String(url).includes("/v1/checkpoint")) log.checkpoints.push(answer.status);
  return answer;
};
const inngest = new Inngest({ id: "shop", baseUrl: process.env.SERVER, isDev: true, logger: silent, fetch: recorded });

let release;
const released = new Promise((resolve) => (release = resolve));
// the order of what happens, which is clearer than a clock
let moment = 0;

const body = (runId, step) => async () => {
  const number = log.bodies.filter((body) => body.run === runId && body.step === step).length + 1;
  const entry = { run: runId, step, began: (moment += 1), ended: null };
  log.bodies.push(entry);
  if (step === "long" && number === 1) await released;
  entry.ended = moment += 1;
  return number;
};
const inOrder = async ({ step, runId }) => {
  const all = [];
  for (const name of ["one", "long", "after"]) all.push(await step.run(name, body(runId, name)));
  return all;
};
const withWait = async ({ step, runId }) => {
  const long = await step.run("long", body(runId, "long"));
  await step.waitForEvent("go", { event: "test/go", timeout: "1h" });
  return [long, await step.run("after", body(runId, "after"))];
};
const parallel = async ({ step, runId }) => {
  const [long] = await Promise.all(["long", "side"].map((name) => step.run(name, body(runId, name))));
  return [long, await step.run("after", body(runId, "after"))];
};
const on = (id, options) => ({ id, triggers: [{ event: `test/${id}` }], ...options });
const byCalls = { checkpointing: false };
const functions = [
  inngest.createFunction(on("recorded"), inOrder),
  inngest.createFunction(on("calls", byCalls), inOrder),
  inngest.createFunction(on("parallel"), parallel),
  inngest.createFunction(on("late-recorded"), withWait),
  inngest.createFunction(on("late-calls", byCalls), withWait),
  inngest.createFunction(on("quick"), async () => "done"),
];
const handler = serve({ client: inngest, functions });
const server = createServer((request, response) => {
  if (request.url === "/log") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(log));
  } else if (request.url === "/release") {
    release();
    response.end("{}");
  } else {
    handler(request, response);
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
