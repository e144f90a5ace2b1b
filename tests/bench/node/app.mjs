// The functions of the benchmark, written with the `inngest` package: each with checkpoints, and
// with one call for each step. Prints the port on which they are served.
import { createServer } from "node:http";
import { Inngest } from "inngest";
import { serve } from "inngest/node";

const none = () => {};
const logger = { info: none, warn: none, error: none, debug: none };
const inngest = new Inngest({ id: "bench", baseUrl: process.env.SERVER, isDev: true, logger });
const nanoseconds = () => Number(process.hrtime.bigint());

// returns the start and end times of each body
async function sequential({ event, step }) {
  const marks = [];
  for (let i = 0; i < event.data.steps; i++) {
    marks.push(await step.run(`step-${i}`, () => [nanoseconds(), nanoseconds()]));
  }
  return marks;
}

async function three({ event, step }) {
  const first = await step.run("first", () => event.data.n + 1);
  const second = await step.run("second", () => first + 1);
  return await step.run("third", () => second + 1);
}

const functions = Object.entries({ checkpoints: true, calls: false }).flatMap(([way, checkpointing]) =>
  Object.entries({ sequential, three }).map(([name, handler]) =>
    inngest.createFunction(
      { id: `${name}-${way}`, checkpointing, triggers: [{ event: `app/${name}-${way}` }] },
      handler,
    ),
  ),
);

const server = createServer(serve({ client: inngest, functions }));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
