// Measures the app of the benchmark with a server that costs nothing: it answers each checkpoint at
// once, stores nothing, and calls the app again as soon as a call has ended. No server can be faster
// with this app. Run it in the folder of the installed packages:
//   cd .test/node && node ../../tests/bench/node/alone.mjs
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";

const AT_ONCE = 64;
const STEPS = 100;
const RUNS = 1000;

const checkpoints = http.createServer((request, response) => {
  request.resume().on("end", () => response.end("{}"));
});
await new Promise((listening) => checkpoints.listen(0, "127.0.0.1", listening));
const script = readFileSync(new URL("app.mjs", import.meta.url), "utf8");
const app = spawn("node", ["--input-type=module", "-e", script], {
  env: {
    ...process.env,
    NODE_ENV: "production",
    NO_PROXY: "127.0.0.1",
    SERVER: `http://127.0.0.1:${checkpoints.address().port}`,
  },
  stdio: ["ignore", "pipe", "inherit"],
});
const port = Number(await new Promise((printed) => app.stdout.once("data", printed)));
const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });

function post(path, body) {
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((answered, failed) => {
    const request = http.request({ agent, host: "127.0.0.1", port, path, method: "POST", headers }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => answered({ status: response.statusCode, json: JSON.parse(Buffer.concat(chunks)) }));
    });
    request.on("error", failed).end(body);
  });
}

let started = 0;

// executes one run, and returns its result
async function run(name, data) {
  const fn = `bench-${name}`;
  const id = `01M8QNJ5H86EZPJ8QY${String(started++).padStart(8, "0")}`;
  const event = { id, name: `app/${name}`, data, ts: Date.now(), user: {} };
  const [steps, stack] = [{}, []];
  for (;;) {
    const ctx = {
      fn_id: fn,
      run_id: id,
      step_id: "step",
      attempt: 0,
      max_attempts: 5,
      stack: { stack, current: stack.length },
      qi_id: name.endsWith("checkpoints") ? "1" : "",
    };
    const body = JSON.stringify({ version: 1, event, events: [event], steps, ctx });
    const { status, json } = await post(`/api/inngest?fnId=${fn}&stepId=step`, body);
    if (status === 200) return json;
    if (status !== 206) throw new Error(`${status}: ${JSON.stringify(json)}`);
    for (const { op, id, data } of json) {
      if (op === "RunComplete") return data;
      if (op !== "StepRun") throw new Error(`${op} was not expected`);
      steps[id] = { data };
      stack.push(id);
    }
  }
}

async function many(name, runs) {
  let n = 0;
  const begun = performance.now();
  const worker = async () => {
    while (n < runs) await run(name, { n: n++ });
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return (1000 * runs) / (performance.now() - begun);
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function measured(times, measure) {
  const values = [];
  for (let i = 0; i < times; i++) values.push(await measure());
  return median(values);
}

for (const way of ["checkpoints", "calls"]) {
  const sequential = async () => {
    const marks = await run(`sequential-${way}`, { steps: STEPS });
    return (marks.at(-1)[0] - marks[0][0]) / (STEPS - 1) / 1e6;
  };
  // Node.js compiles the functions while they run
  await measured(3, sequential);
  await many(`three-${way}`, RUNS / 2);
  const step = await measured(20, sequential);
  const rate = await measured(5, () => many(`three-${way}`, RUNS));
  console.log(`${way}: ${step.toFixed(2)} ms a step; ${rate.toFixed(0)} runs/s`);
}
app.kill();
process.exit();
