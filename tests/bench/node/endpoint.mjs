// The functions of the benchmark, written for Restate's server. Prints the port on which they are
// served.
import http2 from "node:http2";

// the SDK calls this function, which Node.js 20 lacks
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
};
const restate = await import("@restatedev/restate-sdk");

const nanoseconds = () => Number(process.hrtime.bigint());

const bench = restate.service({
  name: "bench",
  handlers: {
    // returns the start and end times of each body
    sequential: async (ctx, steps) => {
      const marks = [];
      for (let i = 0; i < steps; i++) {
        marks.push(await ctx.run(`step-${i}`, () => [nanoseconds(), nanoseconds()]));
      }
      return marks;
    },
    // returns when the first and the last step and the step after them started
    fanOut: async (ctx, steps) => {
      const before = await ctx.run("before", nanoseconds);
      const body = async () => {
        const started = nanoseconds();
        await new Promise((resolve) => setTimeout(resolve, 5));
        return started;
      };
      const all = Array.from({ length: steps }, (_, i) => ctx.run(`step-${i}`, body));
      const started = await restate.RestatePromise.all(all);
      const after = await ctx.run("after", nanoseconds);
      return [Math.min(...started), Math.max(...started), after].map((time) => time - before);
    },
    three: async (ctx, n) => {
      const first = await ctx.run("first", () => n + 1);
      const second = await ctx.run("second", () => first + 1);
      return await ctx.run("third", () => second + 1);
    },
  },
});

const server = http2.createServer(restate.createEndpointHandler({ services: [bench] }));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
