// An app with functions of the `inngest` package. It serves them, and counts how often each body
// has been executed: GET /counts. Bodies that wait go on with GET /release.
import { createServer } from "node:http";
import { Inngest, NonRetriableError, RetryAfterError } from "inngest";
import { serve } from "inngest/node";

const isDev = !process.env.INNGEST_SIGNING_KEY;
const inngest = new Inngest({ id: "shop", baseUrl: process.env.SERVER, isDev, logger: silent() });
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

let release;
const released = new Promise((resolve) => (release = resolve));

const hello = inngest.createFunction(
  { id: "hello-world", triggers: [{ event: "test/hello" }] },
  async ({ event, step, runId }) => {
    count(runId, "handler");
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
    const first = await body("first", 1);
    const [a, b, none] = await Promise.all([body("a", first), body("b", 2), step.sleep("pause", "50ms")]);
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

const callee = inngest.createFunction({ id: "callee", retries: 0, triggers: [{ event: "inngest/function.invoked" }] }, async ({ event, step }) => {
  if (event.data.fail) throw new Error("the callee fails");
  if (event.data.slow) await step.waitForEvent("go", { event: "test/go", timeout: "1h" });
  return { twice: event.data.n * 2, name: event.name, user: event.user ?? null };
});

const caller = inngest.createFunction({ id: "caller", triggers: [{ event: "test/caller" }] }, async ({ step }) => {
  const call = { function: callee, data: { n: 21 }, timeout: "1h", user: { id: "ada" } };
  const { twice, name, user } = await step.invoke("call", call);
  const failed = await step.invoke("failing", { function: callee, data: { fail: true } }).catch((e) => e.message);
  const slow = step.invoke("slow", { function: callee, data: { n: 1, slow: true }, timeout: "50ms" });
  const late = await slow.then(() => "in time", (e) => [e.name, e.message]);
  const { ids } = await step.sendEvent("send", { name: "test/sent", data: { n: 1 } });
  return { twice, name, user, failed, late, sent: ids.length };
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
  async ({ step }) => step.waitForSignal("sig", { signal: "abc", timeout: "1h", onConflict: "replace" }),
);

const race = inngest.createFunction({ id: "race", triggers: [{ event: "test/race" }] }, async ({ step, runId }) => {
  const fast = step.run("fast", () => "fast");
  const slow = step.run("slow", async () => {
    count(runId, "slow");
    await released;
    return "slow";
  });
  return Promise.race([fast, slow]);
});

const timers = inngest.createFunction({ id: "timers", triggers: [{ event: "test/timers" }] }, async ({ step, group }) => {
  const late = step.sleep("late", "1d").then(() => "late");
  const work = await Promise.race([step.run("work", () => "work"), late]);
  const more = await step.run("more", () => "more");
  const won = await group.parallel(() =>
    Promise.race([step.run("last", () => "last"), step.waitForEvent("never", { event: "test/never", timeout: "1d" })]),
  );
  return [work, more, won];
});

// the second body waits, but only once
const halfway = inngest.createFunction({ id: "halfway", triggers: [{ event: "test/halfway" }] }, async ({ step, runId }) => {
  const all = [await step.run("one", () => count(runId, "one"))];
  all.push(
    await step.run("two", async () => {
      if (count(runId, "two") === 1 && !process.env.RELEASED) await released;
      return 2;
    }),
  );
  all.push(await step.run("three", () => count(runId, "three")));
  return all;
});

const large = inngest.createFunction({ id: "large", triggers: [{ event: "test/large" }] }, async ({ event, step }) => {
  let bytes = 0;
  for (let n = 0; n < 5; n++) bytes += (await step.run("megabyte", () => "x".repeat(1024 * 1024))).length;
  await step.sleep("pause", "1ms");
  return await step.run("sum", () => ({ bytes, name: event.data.name }));
});

const calls = { id: "calls", checkpointing: false, triggers: [{ event: "test/calls" }] };
const oneByOne = inngest.createFunction(calls, async ({ step, runId }) => {
  const all = [];
  for (const name of ["a", "b", "c"]) all.push(await step.run(name, () => count(runId, name)));
  return all;
});

const buffered = { id: "buffered", checkpointing: { bufferedSteps: 2 }, triggers: [{ event: "test/buffered" }] };
const inPairs = inngest.createFunction(buffered, async ({ step, runId }) => {
  const all = [];
  for (const name of ["a", "b", "c"]) all.push(await step.run(name, () => count(runId, name)));
  return all;
});

const signals = inngest.createFunction({ id: "signals", triggers: [{ event: "test/signals" }] }, async ({ step }) => {
  const none = await step.waitForSignal("none", { signal: "never", timeout: "10ms", onConflict: "fail" });
  const got = await step.waitForSignal("wait", { signal: "task/1", timeout: "1h", onConflict: "fail" });
  return { none, got };
});

const sender = inngest.createFunction({ id: "sender", triggers: [{ event: "test/sender" }] }, async ({ step }) => {
  const sent = await step.sendSignal("send", { signal: "task/1", data: { n: 1 } });
  const lost = await step.sendSignal("lost", { signal: "task/2", data: null });
  return { sent, lost };
});

// its code changes while a run waits
const changed = inngest.createFunction({ id: "changed", triggers: [{ event: "test/changed" }] }, async ({ step, runId }) => {
  const all = [await step.run("first", () => count(runId, "first"))];
  if (process.env.CHANGED) all.push(await step.run("added", () => count(runId, "added")));
  else all.push(await step.run("removed", () => count(runId, "removed")));
  await step.waitForEvent("while the code changes", { event: "test/go", timeout: "1h" });
  all.push(await step.run("last", () => count(runId, "last")));
  return all;
});

const functions = [hello, parallel, flaky, caught, uncaught, handler, waits, callee, caller];
functions.push(sent, repeated, batch, unsupported, race, timers, halfway, large, oneByOne, inPairs, signals, sender, changed);
if (process.env.ONLY) functions.splice(0, functions.length, hello);

const inngestHandler = serve({ client: inngest, functions });
const server = createServer((request, response) => {
  if (request.url === "/counts") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(counts));
  } else if (request.url === "/release") {
    release();
    response.end("{}");
  } else {
    inngestHandler(request, response);
  }
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(server.address().port));
