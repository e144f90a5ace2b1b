// An app with functions of the `inngest` package. It serves them, and counts how often each body
// has been executed: GET /counts.
import { createServer } from "node:http";
import { Inngest, NonRetriableError, RetryAfterError } from "inngest";
import { serve } from "inngest/node";

const inngest = new Inngest({ id: "shop", baseUrl: process.env.SERVER, isDev: true, logger: silent() });
// version 3 takes the triggers as an argument of their own
if (inngest.createFunction.length === 3) {
  const create = inngest.createFunction;
  inngest.createFunction = ({ triggers, ...options }, handler) => create(options, triggers, handler);
}
const counts = {};

function silent() {
  const none = () => {};
  return { info: none, warn: none, error: none, debug: none };
}

function count(runId, step) {
  const key = `${runId} ${step}`;
  counts[key] = (counts[key] ?? 0) + 1;
  return counts[key];
}

const hello = inngest.createFunction(
  { id: "hello-world", triggers: [{ event: "test/hello" }] },
  async ({ event, step, runId }) => {
    const greeting = await step.run("greet", () => {
      count(runId, "greet");
      return `Hello ${event.data.name}`;
    });
    await step.sleep("wait-a-moment", "100ms");
    return { message: `${greeting}!` };
  },
);

const parallel = inngest.createFunction(
  { id: "parallel", triggers: [{ event: "test/parallel" }] },
  async ({ step, runId }) => {
    const body = (name, value) =>
      step.run(name, () => {
        count(runId, name);
        return value;
      });
    const [a, b, none] = await Promise.all([body("a", 1), body("b", 2), step.sleep("pause", "50ms")]);
    const sum = await body("sum", a + b);
    return { sum, none: none ?? null };
  },
);

const flaky = inngest.createFunction(
  { id: "flaky", retries: 3, triggers: [{ event: "test/flaky" }] },
  async ({ step, runId, attempt }) => {
    const tries = await step.run("flaky", () => {
      const n = count(runId, "flaky");
      if (n < 3) throw new TypeError(`try ${n}`);
      return n;
    });
    const late = await step.run("late", () => {
      if (count(runId, "late") === 1) throw new RetryAfterError("later", 1000);
      return "in time";
    });
    return { tries, late, attempt };
  },
);

const caught = inngest.createFunction(
  { id: "caught", retries: 1, triggers: [{ event: "test/caught" }] },
  async ({ step, runId }) => {
    const seen = [];
    for (const error of [new NonRetriableError("never"), new TypeError("always")]) {
      try {
        await step.run("fails", () => {
          count(runId, error.message);
          throw error;
        });
      } catch (e) {
        seen.push([e.name, e.message]);
      }
    }
    return seen;
  },
);

const uncaught = inngest.createFunction(
  {
    id: "uncaught",
    retries: 0,
    triggers: [{ event: "test/uncaught" }],
    onFailure: async ({ event, error }) => ({ of: event.data.function_id, error: error.message }),
  },
  async ({ step }) => {
    await step.run("fails", () => {
      throw new RangeError("out of range");
    });
  },
);

const handler = inngest.createFunction(
  { id: "handler", retries: 2, triggers: [{ event: "test/handler" }] },
  async ({ step, runId, attempt }) => {
    const first = await step.run("first", () => count(runId, "first"));
    if (attempt < 2) throw new Error("not yet");
    const second = await step.run("second", () => count(runId, "second"));
    return { first, second, attempt };
  },
);

const waits = inngest.createFunction(
  { id: "waits", triggers: [{ event: "test/waits" }] },
  async ({ step }) => {
    const [found, none] = await Promise.all([
      step.waitForEvent("approval", { event: "test/approved", timeout: "1h", if: "async.data.id == event.data.id" }),
      step.waitForEvent("nothing", { event: "test/never", timeout: "100ms" }),
    ]);
    return { by: found?.data.by, name: found?.name, none };
  },
);

const callee = inngest.createFunction({ id: "callee", retries: 0, triggers: [{ event: "inngest/function.invoked" }] }, async ({ event }) => {
  if (event.data.fail) throw new Error("the callee fails");
  return { twice: event.data.n * 2, name: event.name };
});

const caller = inngest.createFunction({ id: "caller", triggers: [{ event: "test/caller" }] }, async ({ step }) => {
  const { twice, name } = await step.invoke("call", { function: callee, data: { n: 21 } });
  const failed = await step.invoke("failing", { function: callee, data: { fail: true } }).catch((e) => e.message);
  const { ids } = await step.sendEvent("send", { name: "test/sent", data: { n: 1 } });
  return { twice, name, failed, sent: ids.length };
});

const sent = inngest.createFunction({ id: "sent", triggers: [{ event: "test/sent" }] }, async () => "received");

const repeated = inngest.createFunction({ id: "repeated", triggers: [{ event: "test/repeated" }] }, async ({ step }) => {
  const all = [];
  for (const n of [1, 2, 3]) all.push(await step.run("again", () => n));
  all.push(await step.run("odd: name/é 😀", () => 4));
  return all;
});

const batch = inngest.createFunction(
  { id: "batch", batchEvents: { maxSize: 2, timeout: "30s" }, triggers: [{ event: "test/batch" }] },
  async ({ events }) => events.map((event) => event.data.n),
);

const unsupported = inngest.createFunction(
  { id: "unsupported", triggers: [{ event: "test/unsupported" }] },
  async ({ step }) => step.waitForSignal("sig", { signal: "abc", timeout: "1h" }),
);

const functions = [hello, parallel, flaky, caught, uncaught, handler, waits, callee, caller];
functions.push(sent, repeated, batch, unsupported);
if (process.env.ONLY) functions.splice(0, functions.length, hello);

const inngestHandler = serve({ client: inngest, functions });
const server = createServer((request, response) => {
  if (request.url === "/counts") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(counts));
  } else {
    inngestHandler(request, response);
  }
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(server.address().port));
