// Sends the event; the page asks for its runs.
import { defineHandler } from "nitro/h3";
import { inngest } from "../../inngest/client";

export default defineHandler(async (event) => {
  const data = await event.req.json();
  return inngest.send({ name: "client/enhance.requested", data });
});
