// An app with durable endpoints: its own clients request them. It counts how often each body has
// been executed: GET /counts. Bodies that wait go on with GET /release.
import { createServer } from "node:http";
import { Inngest, NonRetriableError, step } from "inngest";
import { endpointAdapter, serveEndpoint } from "inngest/node";

const none = () => {};
const logger = { info: none, warn: none, error: none, debug: none };
const isDev = !process.env.INNGEST_SIGNING_KEY;
const inngest = new Inngest({ id: "shop", baseUrl: process.env.SERVER, isDev, logger, endpointAdapter });
const counts = {};

function count(name) {
  counts[name] = (counts[name] ?? 0) + 1;
  return counts[name];
}

let release;
const released = process.env.RELEASED ? Promise.resolve() : new Promise((resolve) => (release = resolve));

const query = (request, name) => new URL(request.url).searchParams.get(name);

const endpoints = {
  "/api/hello": async (request) => {
    const greeting = await step.run("greet", () => `Hello ${query(request, "name")}, ${count("greet")}`);
    const mark = await step.run("mark", () => "!");
    return Response.json({ message: `${greeting}${mark}` }, { status: 201 });
  },
  "/api/value": async () => ({ value: await step.run("value", () => count("value")) }),
  "/api/pause": async (request) => {
    const before = await step.run("before", () => count("before"));
    await step.sleep("pause", "100ms");
    const [a, b] = await Promise.all([step.run("a", () => count("a")), step.run("b", () => count("b"))]);
    return { before, a, b, name: query(request, "name") };
  },
  "/api/flaky": async () => {
    const first = await step.run("first", () => count("first"));
    const tries = await step.run("flaky", () => {
      const tries = count("flaky");
      if (tries < 3) throw new TypeError(`try ${tries}`);
      return tries;
    });
    return { first, tries };
  },
  "/api/handler": async () => {
    const only = await step.run("only", () => count("only"));
    if (count("handler") < 2) throw new Error("the handler fails");
    return { only };
  },
  "/api/never": async () => {
    await step.run("never", () => {
      count("never");
      throw new NonRetriableError("out of stock");
    });
  },
  "/api/halfway": async () => {
    const all = [await step.run("one", () => count("one"))];
    all.push(
      await step.run("two", async () => {
        const two = count("two");
        await released;
        return two;
      }),
    );
    all.push(await step.run("three", () => count("three")));
    return all;
  },
};
const listeners = Object.fromEntries(
  Object.entries(endpoints).map(([path, handler]) => [path, serveEndpoint(inngest.endpoint(handler))]),
);
const poll = inngest.endpointProxy();

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/counts") {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(counts));
  } else if (pathname === "/release") {
    release();
    response.end("{}");
  } else if (pathname === "/api/poll") {
    poll(request, response);
  } else {
    listeners[pathname](request, response);
  }
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(server.address().port));
