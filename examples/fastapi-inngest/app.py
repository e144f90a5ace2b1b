"""Two functions of a back end, written with Inngest's SDK and served by FastAPI."""

import json
import os

import fastapi
import httpx
import inngest
import inngest.fast_api

# INNGEST_DEV or INNGEST_BASE_URL says where the server is
client = inngest.Inngest(app_id="fastapi-app")

TEXTS = {"type": "array", "items": {"type": "string"}}
COMPETITOR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "domain"],
    "properties": {"name": {"type": "string"}, "domain": {"type": "string"}},
}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["industry", "description", "services", "competitors"],
    "properties": {
        "industry": {"type": "string"},
        "description": {"type": "string"},
        "services": TEXTS,
        "competitors": {"type": "array", "items": COMPETITOR},
    },
}
# the maximum number of entries in each list that is stored
MOST = 10


@client.create_function(fn_id="hello-world", trigger=inngest.TriggerEvent(event="test/hello.world"))
async def hello_world(ctx: inngest.Context) -> dict:
    async def greet() -> str:
        return f"Hello, {ctx.event.data['name']}!"

    greeting = await ctx.step.run("greet", greet)
    await ctx.step.sleep("wait-a-moment", 1000)
    return {"message": greeting}


@client.create_function(
    fn_id="enhance-client-with-ai",
    retries=2,
    concurrency=[inngest.Concurrency(limit=3)],
    trigger=inngest.TriggerEvent(event="client/enhance.requested"),
)
async def enhance_client_with_ai(ctx: inngest.Context) -> dict:
    data = ctx.event.data

    async def call_openai() -> dict:
        return await ask_openai(data["clientName"], data["clientDomain"])

    # expensive and slow; its outcome is recorded, so that a later failure does not repeat it
    raw = await ctx.step.run("call-openai", call_openai)

    async def process_data() -> dict:
        return {**raw, "services": raw["services"][:MOST], "competitors": raw["competitors"][:MOST]}

    enhanced = await ctx.step.run("process-data", process_data)

    async def update_client() -> None:
        columns = {name: value for name, value in enhanced.items() if name != "competitors"}
        await supabase("PATCH", "clients", {"id": f"eq.{data['clientId']}"}, columns)

    await ctx.step.run("update-client", update_client)

    async def upsert_competitors() -> int:
        rows = [{"client_id": data["clientId"], **competitor} for competitor in enhanced["competitors"]]
        await supabase("POST", "competitors", {"on_conflict": "client_id,domain"}, rows)
        return len(rows)

    stored = await ctx.step.run("upsert-competitors", upsert_competitors)
    return {"clientId": data["clientId"], "competitors": stored}


async def ask_openai(name: str, domain: str) -> dict:
    base = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
    question = f"Describe the business of {name} ({domain}) and its competitors."
    body = {
        "model": os.environ.get("OPENAI_MODEL", "gpt-4o-mini"),
        "messages": [{"role": "user", "content": question}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "intelligence", "strict": True, "schema": SCHEMA},
        },
    }
    headers = {"authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"}
    async with httpx.AsyncClient(timeout=60) as http:
        answer = await http.post(f"{base}/chat/completions", json=body, headers=headers)
    check(answer, "OpenAI")
    return json.loads(answer.json()["choices"][0]["message"]["content"])


async def supabase(method: str, table: str, query: dict, body: object) -> None:
    key = os.environ.get("SUPABASE_SERVICE_ROLE_KEY", "")
    headers = {"apikey": key, "authorization": f"Bearer {key}", "prefer": "resolution=merge-duplicates"}
    url = f"{os.environ['SUPABASE_URL']}/rest/v1/{table}"
    async with httpx.AsyncClient(timeout=30) as http:
        check(await http.request(method, url, params=query, json=body, headers=headers), "Supabase")


def check(answer: httpx.Response, service: str) -> None:
    """A refused request is not sent again, because its answer would be the same."""
    if answer.is_success:
        return
    message = f"{service} answers {answer.status_code}: {answer.text}"
    if answer.status_code < 500 and answer.status_code not in (408, 429):
        raise inngest.NonRetriableError(message)
    raise Exception(message)


app = fastapi.FastAPI()
inngest.fast_api.serve(app, client, [hello_world, enhance_client_with_ai])


@app.post("/enhance")
async def enhance(body: dict) -> dict:
    """Sends the event that starts the function."""
    return {"ids": await client.send(inngest.Event(name="client/enhance.requested", data=body))}
