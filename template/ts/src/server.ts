import { createServer } from "inngest/node";

import { inngest } from "./client.ts";
import { welcome } from "./welcome.ts";

// every function of this app
const functions = [welcome];
const port = Number(process.env.PORT ?? 3000);

createServer({ client: inngest, functions }).listen(port, () => {
  console.log(`serving ${functions.length} function on http://localhost:${port}/api/inngest`);
});
