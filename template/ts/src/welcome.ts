import { inngest } from "./client.ts";

/** Greets a new user, and asks three days later how it goes. */
export const welcome = inngest.createFunction(
  { id: "welcome", retries: 3, triggers: [{ event: "user/signed.up" }] },
  async ({ event, step }) => {
    // the outcome of a step is stored, so a step that has ended never executes again
    const greeting = await step.run("greet", () => `Welcome, ${event.data.name}!`);
    // nothing runs while it sleeps
    await step.sleep("three-days", "3d");
    const question = await step.run("ask", () => `How is it going, ${event.data.name}?`);
    return { greeting, question };
  },
);
