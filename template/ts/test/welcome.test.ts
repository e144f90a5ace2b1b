import assert from "node:assert/strict";
import { test } from "node:test";

import { InngestTestEngine } from "@inngest/test";

import { welcome } from "../src/welcome.ts";

test("a new user is greeted at once and asked after three days", async () => {
  const run = new InngestTestEngine({
    function: welcome,
    events: [{ name: "user/signed.up", data: { name: "Ada" } }],
    // the sleep ends at once
    steps: [{ id: "three-days", handler: () => undefined }],
  });
  const { result } = await run.execute();
  assert.deepEqual(result, { greeting: "Welcome, Ada!", question: "How is it going, Ada?" });
});
