// The suites of Inngest's packages read the states of runs with a few GraphQL queries, and expect
// the server at port 8288. This program listens there, answers those queries from the server's REST
// API, and forwards all other requests unchanged. It is no part of the product.
//
// Usage: node shim.mjs SERVER-URL [PORT]
import http from "node:http";

const server = new URL(process.argv[2]);
const port = Number(process.argv[3] ?? 8288);

const get = async (path) => {
  const response = await fetch(new URL(path, server));
  return response.ok ? (await response.json()).data : null;
};

const STATUS = {
  Scheduled: "QUEUED",
  Running: "RUNNING",
  Completed: "COMPLETED",
  Failed: "FAILED",
  Cancelled: "CANCELLED",
  Skipped: "SKIPPED",
  Abandoned: "CANCELLED",
};

const json = (value) => (value === undefined ? null : JSON.stringify(value));

// an error as the suites compare it: without the fields that the app has not sent
const error = ({ message, name, stack }) => ({ message, name: name ?? null, stack: stack ?? null });

// what the app has answered, as text: the error whole for a failed run
const output = (run) => {
  if (run.status === "Completed") return json(run.output ?? null);
  if (!run.error) return null;
  const { data, ...sent } = run.error;
  return json({ ...(data ?? {}), ...sent });
};

const span = (id, name, status, steps) => ({
  name,
  stepID: steps ? null : name,
  spanID: id,
  status: STATUS[status] ?? "RUNNING",
  outputID: ["Completed", "Failed"].includes(status) ? id : null,
  metadata: [],
  childrenSpans: steps ?? [],
});

// repetitions have the name that is in the code
const shown = (id) => id.replace(/:\d+$/, "");

const trace = (run) => {
  const steps = run.steps.map((step, n) => span(`${run.run_id}/${n}`, shown(step.id), step.status));
  return span(run.run_id, run.function_id, run.status, steps);
};

const event = (found) => {
  const { id, name, data, ts, user } = found;
  return { id, name, data, ts: typeof ts === "number" ? ts : Date.parse(ts), user: user ?? {} };
};

const resolvers = {
  runTraceSpanOutputByID: async ({ outputID, traceID, output_id }) => {
    const [id, n] = (outputID ?? traceID ?? output_id).split("/");
    const run = await get(`/v1/runs/${id}`);
    const of = n === undefined ? run : run.steps[n];
    if (of.error) return { data: null, error: error(of.error) };
    return { data: json(of.output ?? null), error: null };
  },
  run: async ({ runId, runID, run_id }) => {
    const run = await get(`/v1/runs/${runId ?? runID ?? run_id}`);
    return run && { status: STATUS[run.status], output: output(run), trace: trace(run) };
  },
  runTrigger: async ({ run_id }) => {
    const run = await get(`/v1/runs/${run_id}`);
    return run && { payloads: [json(event(run.event))] };
  },
  eventV2: async ({ id }) => {
    const found = await get(`/v1/events/${id}`);
    return found && { idempotencyKey: found.external_id, name: found.name, raw: json(event(found)) };
  },
  event: async ({ event_id }) => {
    const runs = await get(`/v1/events/${event_id}/runs`);
    return { functionRuns: (runs ?? []).map((run) => ({ id: run.run_id })) };
  },
};

// which of them the query asks for; the fields are sent whole, except those that a suite refuses
async function answer({ query, variables }) {
  const data = {};
  for (const [field, resolve] of Object.entries(resolvers)) {
    if (new RegExp(`\\b${field}\\(`).test(query)) data[field] = await resolve(variables ?? {});
  }
  if (Object.keys(data).length === 0) throw new Error(`no answer for the query ${query}`);
  return { data };
}

const body = async (request) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
};

function forward(request, response) {
  const { method, url: path } = request;
  // the server refuses names that are not those of this machine, such as 0.0.0.0
  const headers = { ...request.headers, host: server.host };
  const to = { host: server.hostname, port: server.port, method, path, headers };
  const forwarded = http.request(to, (answered) => {
    response.writeHead(answered.statusCode, answered.headers);
    answered.pipe(response);
  });
  forwarded.on("error", (problem) => response.writeHead(502).end(`${problem}`));
  request.pipe(forwarded);
}

const shim = http.createServer(async (request, response) => {
  if (request.url !== "/v0/gql") return forward(request, response);
  try {
    const answered = JSON.stringify(await answer(JSON.parse(await body(request))));
    response.writeHead(200, { "content-type": "application/json" }).end(answered);
  } catch (problem) {
    response.writeHead(500).end(`${problem.stack}`);
  }
});
shim.listen(port, "127.0.0.1", () => console.log(`listening at http://127.0.0.1:${port}`));
