import { inngest } from "../client";

export const helloWorld = inngest.createFunction(
  { id: "hello-world", triggers: [{ event: "test/hello.world" }] },
  async ({ event, step }) => {
    const greeting = await step.run("greet", () => `Hello, ${event.data.name}!`);
    await step.sleep("wait-a-moment", "1s");
    return { message: greeting };
  },
);
