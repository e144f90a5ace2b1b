"""An app with the `inngest` package for Python whose code changes between the call that lists a
step and the call that executes it."""

import asyncio
import functools
import logging
import os
import socket

import fastapi
import inngest
import inngest.fast_api
import uvicorn

client = inngest.Inngest(
    app_id="shop",
    api_base_url=os.environ["SERVER"],
    event_api_base_url=os.environ["SERVER"],
    is_production=False,
    logger=logging.getLogger("silent"),
)
logging.getLogger("silent").setLevel(logging.CRITICAL)
counts: dict[str, int] = {}
# the functions whose code has changed
changed: set[str] = set()
functions: list[inngest.Function] = []


async def body(ctx: inngest.Context, step: str) -> int:
    key = f"{ctx.run_id} {step}"
    counts[key] = counts.get(key, 0) + 1
    return counts[key]


async def fails(ctx: inngest.Context) -> None:
    await body(ctx, "gone")
    raise Exception("not yet")


def retried(fn_id: str, retries: int) -> None:
    async def handler(ctx: inngest.Context) -> int:
        if f"shop-{fn_id}" in changed:
            return await ctx.step.run("new", functools.partial(body, ctx, "new"))
        await ctx.step.run("gone", functools.partial(fails, ctx))
        return 0

    trigger = inngest.TriggerEvent(event=f"test/{fn_id}")
    functions.append(client.create_function(fn_id=fn_id, retries=retries, trigger=trigger)(handler))


retried("retried", 3)
retried("last", 1)


@client.create_function(fn_id="beside", trigger=inngest.TriggerEvent(event="test/beside"))
async def beside(ctx: inngest.Context) -> list:
    second = "new" if "shop-beside" in changed else "gone"
    steps = [functools.partial(ctx.step.run, id, functools.partial(body, ctx, id)) for id in ("a", second)]
    return list(await ctx.group.parallel(tuple(steps)))


functions.append(beside)
app = fastapi.FastAPI()


@app.middleware("http")
async def change(request: fastapi.Request, call_next):
    query = request.query_params
    if query.get("stepId", "step") != "step":
        changed.add(query["fnId"])
    return await call_next(request)


app.get("/counts")(lambda: counts)
inngest.fast_api.serve(app, client, functions)


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="critical")).serve([listener])


asyncio.run(main())
