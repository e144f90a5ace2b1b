"""Sessions of the official MCP client. The first argument names the session; each prints JSON about what it found."""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


def connection():
    """The server that the environment describes: a URL, or a command with its arguments."""
    if url := os.environ.get("MCP_URL"):
        token = os.environ.get("MCP_TOKEN")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return streamable_http_client(url, http_client=httpx2.AsyncClient(headers=headers, trust_env=False))
    command, *arguments = json.loads(os.environ["MCP_COMMAND"])
    passed = {name: value for name, value in os.environ.items() if name.startswith(("STEPLADDER_", "AWS_", "NO_PROXY"))}
    return StdioServerParameters(command=command, args=arguments, env=passed)


async def call(client, tool, /, **arguments):
    """Calls a tool that must succeed, and returns its structured output."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert result.content[0].text, result
    return result.structured_content


async def refused(client, tool, /, **arguments):
    """Calls a tool that must fail, and returns its sentence."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error and result.structured_content is None, result
    return result.content[0].text


async def why_it_failed_and_again(client):
    """An agent sends an event, finds out why its run failed, and repeats the run with other data."""
    functions = await call(client, "list_functions")
    triggers = {trigger["event"] for function in functions["functions"] for trigger in function["triggers"]}
    assert "client/enhance.requested" in triggers, triggers

    data = {"clientId": "c-gone", "clientName": "Acme", "clientDomain": "acme.example", "big": 12345678901234567890}
    sent = await call(client, "send_event", name="client/enhance.requested", data=data)
    [run] = sent["run_ids"]
    news = []

    async def note(progress, total, message):
        news.append((progress, message))

    waited = await client.call_tool("wait_for_run", {"run_id": run, "timeout_seconds": 60}, progress_callback=note)
    assert waited.structured_content["status"] == "Failed", waited
    numbers = [number for number, _ in news]
    assert numbers == sorted(set(numbers)) and any("call-openai" in message for _, message in news), news

    explained = await call(client, "explain_run", run_id=run)
    assert explained["status"] == "Failed", explained
    [failed] = explained["failed_steps"]
    assert failed["id"] == "update-client" and "no row of `clients` has the id c-gone" in failed["error"]["message"], failed
    assert any("from_step `update-client`" in sentence for sentence in explained["next"]), explained["next"]
    assert explained["event"]["data"]["big"] == 12345678901234567890, explained["event"]

    found = await call(client, "search_runs", status="Failed", function="enhance-client-with-ai", text="c-gone")
    assert [each["run_id"] for each in found["runs"]] == [run] and found["searched"] >= 1, found

    changed = {**explained["event"]["data"], "clientId": "c-new"}
    again = await call(client, "rerun_run", run_id=run, from_step="update-client", input=changed)
    assert again["rerun_of"] == run, again
    done = await call(client, "wait_for_run", run_id=again["run_id"], timeout_seconds=60)
    assert done["status"] == "Completed" and done["ended"] and done["output"], done

    explained = await call(client, "explain_run", run_id=again["run_id"])
    assert explained["rerun_of"] == run and "failed_steps" not in explained, explained
    return {"failed": run, "completed": again["run_id"]}


async def cancels_what_waits(client):
    """An agent looks at a run that waits for an event, and cancels it."""
    sent = await call(
        client, "send_event", name="content/brief.requested", data={"briefId": "b", "clientId": "c", "topic": "tea", "approval": True}
    )
    [run] = sent["run_ids"]
    for _ in range(600):
        explained = await call(client, "explain_run", run_id=run)
        # the wait starts beside a step, after which nothing moves any more
        if [step["status"] for step in explained.get("waiting_steps", [])] == ["Awaiting"] and explained.get("waiting"):
            break
        await call(client, "wait_for_run", run_id=run, timeout_seconds=1)
    assert "content/brief.decided" in explained["waiting"] and explained["waiting_steps"][0]["awaits"], explained
    assert any("send_event" in sentence for sentence in explained["next"]), explained
    live = await call(client, "wait_for_run", run_id=run, timeout_seconds=0)
    assert not live["ended"] and live["waiting"], live
    cancelled = await call(client, "cancel_run", run_id=run)
    assert cancelled["status"] == "Cancelled", cancelled
    assert (await call(client, "cancel_run", run_id=run))["status"] == "Cancelled"
    return {"cancelled": run}


async def reads_journals_and_docs(client):
    """A journal is read page by page, and the documentation is found."""
    sent = await call(client, "send_event", name="test/hello.world", data={"name": "Ada" * 3000})
    [run] = sent["run_ids"]
    await call(client, "wait_for_run", run_id=run, timeout_seconds=60)
    entries, following = [], 0
    while following is not None:
        page = await call(client, "get_journal", run_id=run, limit=2, **{"from": following})
        assert page["run_id"] == run and len(page["entries"]) <= 2, page
        entries += page["entries"]
        following = page.get("next")
    assert [entry["seq"] for entry in entries] == list(range(len(entries))) and len(entries) > 4, entries
    assert entries[0]["fact"]["stepladder_left_out"]["bytes"] > 9000, entries[0]
    whole = await client.call_tool("get_journal", {"run_id": run})
    assert f"the journal has {len(entries)} entries" in whole.content[0].text, whole

    docs = await call(client, "search_docs", query="how do I throttle a function", limit=2)
    assert len(docs["sections"]) == 2 and docs["sections"][0]["chapter"] == "flow-control.md", docs
    return {"entries": len(entries)}


async def bad_calls_are_refused(client):
    """What is wrong with a call is said with the name of the argument."""
    missing = "01KAVZ9Y3M0000000000000001"
    sentences = [
        (await refused(client, "explain_run"), "`run_id` is missing"),
        (await refused(client, "explain_run", run_id="x"), "`run_id`: a run's id has 26"),
        (await refused(client, "explain_run", run_id=missing), missing),
        (await refused(client, "explain_run", run_id=missing, verbose=True), "`verbose` is no argument"),
        (await refused(client, "wait_for_run", run_id=missing, timeout_seconds=301), "`timeout_seconds`: it is 301"),
        (await refused(client, "search_runs", status="Done"), "`status`: `Done` is not a status"),
        (await refused(client, "search_runs", label="no"), "`label`:"),
        (await refused(client, "search_runs", cursor="no"), "`cursor` is `no`"),
        (await refused(client, "send_event", name="a/b", data=[1]), "`data`: it is not a JSON object"),
        (await refused(client, "send_event", name="inngest/x"), "inngest/"),
        (await refused(client, "rerun_run", run_id=missing, from_step=""), "`from_step`: it is empty"),
        (await refused(client, "cancel_run", run_id=missing), missing),
    ]
    for sentence, expected in sentences:
        assert expected in sentence, (expected, sentence)
    try:
        await client.call_tool("drop_table", {})
    except MCPError as error:
        assert error.code == -32602 and "drop_table" in str(error) and "explain_run" in str(error), error
    else:
        raise AssertionError("a tool that does not exist was called")
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    for name in ("cancel_run", "rerun_run"):
        assert tools[name].annotations.destructive_hint and not tools[name].annotations.read_only_hint, tools[name]
    assert not tools["send_event"].annotations.destructive_hint and tools["explain_run"].annotations.read_only_hint
    assert all(tool.input_schema["additionalProperties"] is False and tool.output_schema for tool in tools.values())
    return {"tools": sorted(tools), "version": client.protocol_version}


async def runs_of_a_table(client):
    """The runs of a table on AWS, without a server."""
    tools = {tool.name for tool in (await client.list_tools()).tools}
    if "send_event" not in tools:
        return {"tools": sorted(tools), "runs": len((await call(client, "search_runs"))["runs"])}
    sent = await call(client, "send_event", name="test/hello.world", data={"name": "Ada"})
    [run] = sent["run_ids"]
    explained = await call(client, "explain_run", run_id=run)
    assert explained["status"] == "Scheduled", explained
    journal = await call(client, "get_journal", run_id=run)
    assert [entry["seq"] for entry in journal["entries"]] == [0] and "next" not in journal, journal
    assert (await call(client, "cancel_run", run_id=run))["status"] == "Cancelled"
    again = await call(client, "rerun_run", run_id=run, input={"name": "Eve"})
    found = await call(client, "search_runs", status="Scheduled", text="Eve")
    assert [each["run_id"] for each in found["runs"]] == [again["run_id"]], found
    return {"cancelled": run, "again": again["run_id"]}


async def is_not_let_in(client):
    return {}


async def main():
    session = globals()[sys.argv[1]]
    async with Client(connection()) as client:
        assert client.server_info.name == "stepladder" and "explain_run" in client.instructions
        return await session(client)


print(json.dumps(asyncio.run(main())))
