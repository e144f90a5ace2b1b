// The runs of an event, from the server that executes them.
import { defineHandler } from "nitro/h3";

export default defineHandler(async (event) => {
  const id = new URL(event.req.url).searchParams.get("event") ?? "";
  const server = process.env.INNGEST_BASE_URL ?? process.env.INNGEST_DEV ?? "http://localhost:8288";
  const answer = await fetch(new URL(`/v1/events/${encodeURIComponent(id)}/runs`, server), {
    headers: { authorization: `Bearer ${process.env.INNGEST_SIGNING_KEY ?? ""}` },
  });
  return answer.json();
});
