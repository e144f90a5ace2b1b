"""`welcome`: greets a new user, and asks three days later how it goes."""

import datetime

import inngest

from client import client


@client.create_function(fn_id="welcome", retries=3, trigger=inngest.TriggerEvent(event="user/signed.up"))
async def welcome(ctx: inngest.Context) -> dict[str, str]:
    name = ctx.event.data["name"]

    async def greet() -> str:
        return f"Welcome, {name}!"

    async def ask() -> str:
        return f"How is it going, {name}?"

    # the outcome of a step is stored, so a step that has ended never executes again
    greeting = await ctx.step.run("greet", greet)
    # nothing runs while it sleeps
    await ctx.step.sleep("three-days", datetime.timedelta(days=3))
    question = await ctx.step.run("ask", ask)
    return {"greeting": greeting, "question": question}
