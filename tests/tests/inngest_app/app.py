"""An app with functions of the `inngest` package for Python, served by FastAPI. It counts how often
each body has been executed: GET /counts."""

import asyncio
import datetime
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
functions: list[inngest.Function] = []


def count(ctx, step: str) -> int:
    key = f"{ctx.run_id} {step}"
    counts[key] = counts.get(key, 0) + 1
    return counts[key]


def function(fn_id: str, event: str, **options):
    """Registers a function that starts at an event."""

    def register(handler):
        decorate = client.create_function(fn_id=fn_id, trigger=inngest.TriggerEvent(event=event), **options)
        functions.append(decorate(handler))
        return functions[-1]

    return register


@function("hello-world", "test/hello")
async def hello(ctx: inngest.Context) -> dict:
    async def greet() -> str:
        count(ctx, "greet")
        return f"Hello {ctx.event.data['name']}"

    greeting = await ctx.step.run("greet", greet)
    await ctx.step.sleep("wait-a-moment", datetime.timedelta(milliseconds=100))
    return {"message": f"{greeting}!"}


@function("synchronous", "test/synchronous")
def synchronous(ctx: inngest.ContextSync) -> int:
    first = ctx.step.run("first", lambda: count(ctx, "first"))
    ctx.step.sleep("nap", 1)
    return first + ctx.step.run("second", lambda: count(ctx, "second"))


@function("parallel", "test/parallel")
async def parallel(ctx: inngest.Context) -> dict:
    async def body(name: str, value: int) -> int:
        count(ctx, name)
        return value

    a, b, none = await ctx.group.parallel(
        (
            lambda: ctx.step.run("a", functools.partial(body, "a", 1)),
            lambda: ctx.step.run("b", functools.partial(body, "b", 2)),
            lambda: ctx.step.sleep("pause", 50),
        )
    )
    total = await ctx.step.run("sum", functools.partial(body, "sum", a + b))
    return {"sum": total, "none": none}


@function("repeated", "test/repeated")
async def repeated(ctx: inngest.Context) -> list:
    async def body(n: int) -> int:
        return n

    out = [await ctx.step.run("again", functools.partial(body, n)) for n in (1, 2, 3)]
    return [*out, await ctx.step.run("odd: name/é 😀", functools.partial(body, 4))]


@function("flaky", "test/flaky", retries=3)
async def flaky(ctx: inngest.Context) -> dict:
    async def fails_twice() -> int:
        n = count(ctx, "flaky")
        if n < 3:
            raise TypeError(f"try {n}")
        return n

    async def late() -> str:
        if count(ctx, "late") == 1:
            raise inngest.RetryAfterError("later", 1000)
        return "in time"

    return {"tries": await ctx.step.run("flaky", fails_twice), "late": await ctx.step.run("late", late)}


@function("caught", "test/caught", retries=1)
async def caught(ctx: inngest.Context) -> list:
    async def always() -> None:
        count(ctx, "always")
        raise TypeError("always")

    try:
        await ctx.step.run("fails", always)
    except inngest.StepError as error:
        return [error.name, error.message]
    return []


@function("final", "test/final", retries=3)
async def final(ctx: inngest.Context) -> None:
    async def never() -> None:
        count(ctx, "never")
        raise inngest.NonRetriableError("never again")

    await ctx.step.run("fails", never)


async def report(ctx: inngest.Context) -> dict:
    return {"of": ctx.event.data["function_id"], "error": ctx.event.data["error"]["message"]}


@function("uncaught", "test/uncaught", retries=0, on_failure=report)
async def uncaught(ctx: inngest.Context) -> None:
    async def fails() -> None:
        raise IndexError("out of range")

    await ctx.step.run("fails", fails)


@function("handler", "test/handler", retries=2)
async def handler(ctx: inngest.Context) -> dict:
    async def body(name: str) -> int:
        return count(ctx, name)

    first = await ctx.step.run("first", functools.partial(body, "first"))
    if ctx.attempt < 2:
        raise Exception("not yet")
    second = await ctx.step.run("second", functools.partial(body, "second"))
    return {"first": first, "second": second, "attempt": ctx.attempt}


@function("waits", "test/waits")
async def waits(ctx: inngest.Context) -> dict:
    found, none = await ctx.group.parallel(
        (
            lambda: ctx.step.wait_for_event(
                "approval",
                event="test/approved",
                if_exp="async.data.id == event.data.id",
                timeout=datetime.timedelta(hours=1),
            ),
            lambda: ctx.step.wait_for_event("nothing", event="test/never", timeout=1000),
        )
    )
    return {"by": found.data["by"], "name": found.name, "none": none}


@function("callee", "test/callee", retries=0)
async def callee(ctx: inngest.Context) -> dict:
    if ctx.event.data.get("fail"):
        raise Exception("the callee fails")
    if ctx.event.data.get("slow"):
        await ctx.step.wait_for_event("go", event="test/go", timeout=datetime.timedelta(hours=1))
    return {"twice": ctx.event.data["n"] * 2, "name": ctx.event.name}


@function("caller", "test/caller")
async def caller(ctx: inngest.Context) -> dict:
    hour = datetime.timedelta(hours=1)
    called = await ctx.step.invoke("call", function=callee, data={"n": 21}, timeout=hour)
    failed = late = None
    try:
        await ctx.step.invoke("failing", function=callee, data={"fail": True})
    except inngest.StepError as error:
        failed = error.message
    try:
        await ctx.step.invoke("slow", function=callee, data={"n": 1, "slow": True}, timeout=1000)
    except inngest.StepError as error:
        late = error.name
    ids = await ctx.step.send_event("send", inngest.Event(name="test/sent", data={"n": 1}))
    return {**called, "failed": failed, "late": late, "sent": len(ids)}


@function("sent", "test/sent")
async def sent(ctx: inngest.Context) -> str:
    return "received"


@function(
    "batch", "test/batch", batch_events=inngest.Batch(max_size=2, timeout=datetime.timedelta(seconds=30))
)
async def batch(ctx: inngest.Context) -> list:
    return [event.data["n"] for event in ctx.events]


@client.create_function(
    fn_id="scheduled",
    trigger=inngest.TriggerCron(cron="TZ=Europe/Berlin 0 9 * * *"),
    concurrency=[inngest.Concurrency(limit=2)],
    throttle=inngest.Throttle(limit=5, period=datetime.timedelta(minutes=1)),
)
async def scheduled(ctx: inngest.Context) -> None:
    pass


functions.append(scheduled)
app = fastapi.FastAPI()
app.get("/counts")(lambda: counts)
inngest.fast_api.serve(app, client, functions)


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="critical")).serve([listener])


asyncio.run(main())
