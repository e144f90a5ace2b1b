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
    three: async (ctx, n) => {
      const first = await ctx.run("first", () => n + 1);
      const second = await ctx.run("second", () => first + 1);
      return await ctx.run("third", () => second + 1);
    },
  },
});

const server = http2.createServer(restate.createEndpointHandler({ services: [bench] }));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
