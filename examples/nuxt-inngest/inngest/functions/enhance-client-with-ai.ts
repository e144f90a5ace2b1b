import { NonRetriableError } from "inngest";
import { inngest } from "../client";

interface Intelligence {
  industry: string;
  description: string;
  services: string[];
  competitors: { name: string; domain: string }[];
}

const texts = { type: "array", items: { type: "string" } };
const competitor = {
  type: "object",
  additionalProperties: false,
  required: ["name", "domain"],
  properties: { name: { type: "string" }, domain: { type: "string" } },
};
const schema = {
  type: "object",
  additionalProperties: false,
  required: ["industry", "description", "services", "competitors"],
  properties: {
    industry: { type: "string" },
    description: { type: "string" },
    services: texts,
    competitors: { type: "array", items: competitor },
  },
};

/** The maximum number of entries in each list that is stored. */
const MOST = 10;

export const enhanceClientWithAi = inngest.createFunction(
  {
    id: "enhance-client-with-ai",
    retries: 2,
    concurrency: { limit: 3 },
    triggers: [{ event: "client/enhance.requested" }],
  },
  async ({ event, step }) => {
    const { clientId, clientName, clientDomain } = event.data;

    // expensive and slow; its outcome is recorded, so that a later failure does not repeat it
    const raw = await step.run("call-openai", () => askOpenAi(clientName, clientDomain));

    const enhanced = await step.run("process-data", () => ({
      ...raw,
      services: raw.services.slice(0, MOST),
      competitors: raw.competitors.slice(0, MOST),
    }));

    await step.run("update-client", async () => {
      const { competitors: _, ...columns } = enhanced;
      await supabase("PATCH", `clients?id=eq.${encodeURIComponent(clientId)}`, columns);
    });

    const stored = await step.run("upsert-competitors", async () => {
      const rows = enhanced.competitors.map((competitor) => ({ client_id: clientId, ...competitor }));
      await supabase("POST", "competitors?on_conflict=client_id,domain", rows);
      return rows.length;
    });
    return { clientId, competitors: stored };
  },
);

async function askOpenAi(name: string, domain: string): Promise<Intelligence> {
  const base = process.env.OPENAI_BASE_URL ?? "https://api.openai.com/v1";
  const answer = await fetch(`${base}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${process.env.OPENAI_API_KEY}` },
    body: JSON.stringify({
      model: process.env.OPENAI_MODEL ?? "gpt-4o-mini",
      messages: [{ role: "user", content: `Describe the business of ${name} (${domain}) and its competitors.` }],
      response_format: { type: "json_schema", json_schema: { name: "intelligence", strict: true, schema } },
    }),
  });
  await check(answer, "OpenAI");
  const { choices } = await answer.json();
  return JSON.parse(choices[0].message.content);
}

async function supabase(method: string, path: string, body: unknown) {
  const key = process.env.SUPABASE_SERVICE_ROLE_KEY ?? "";
  const answer = await fetch(`${process.env.SUPABASE_URL}/rest/v1/${path}`, {
    method,
    headers: {
      "content-type": "application/json",
      apikey: key,
      authorization: `Bearer ${key}`,
      prefer: "resolution=merge-duplicates",
    },
    body: JSON.stringify(body),
  });
  await check(answer, "Supabase");
}

/** A refused request is not sent again, because its answer would be the same. */
async function check(answer: Response, service: string) {
  if (answer.ok) return;
  const message = `${service} answers ${answer.status}: ${await answer.text()}`;
  if (answer.status < 500 && ![408, 429].includes(answer.status)) throw new NonRetriableError(message);
  throw new Error(message);
}
