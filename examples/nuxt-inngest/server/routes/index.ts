import { defineHandler, html } from "nitro/h3";

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Enhance a client</title>
<h1>Enhance a client</h1>
<form>
  <label>Name <input name="clientName" value="Acme" required></label>
  <label>Domain <input name="clientDomain" value="acme.example" required></label>
  <button>Enhance</button>
</form>
<pre role="status"></pre>
<script>
const status = document.querySelector("pre");
document.querySelector("form").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  const data = { clientId: crypto.randomUUID(), ...Object.fromEntries(new FormData(submit.target)) };
  const sent = await fetch("/api/enhance", { method: "POST", body: JSON.stringify(data) }).then((r) => r.json());
  for (;;) {
    const { data: runs } = await fetch("/api/runs?event=" + sent.ids[0]).then((r) => r.json());
    status.textContent = runs.map((run) => run.function_id + ": " + run.status).join("\\n") || "waiting for a run";
    if (runs.length > 0 && runs.every((run) => run.ended_at)) break;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
});
</script>
</html>`;

export default defineHandler(() => html(page));
