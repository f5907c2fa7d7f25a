import TLS

/// The page that a browser gets at `/`: runners and the latest jobs, read through the same API as everyone else's.
enum Dashboard {
  static let page = Array(html.utf8)

  /// Lets the page run its own script and use its own style, known by their hashes, and call the node that it came from.
  static let contentSecurityPolicy = """
    default-src 'none'; script-src '\(hash(of: "script"))'; style-src '\(hash(of: "style"))'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'
    """

  /// What stands between the tags of the page's one element of this name, as CSP names it: `sha256-…`.
  private static func hash(of element: String) -> String {
    guard let start = page.firstRange(of: "<\(element)>".utf8), let end = page.firstRange(of: "</\(element)>".utf8)
    else {
      preconditionFailure("the dashboard has no <\(element)>")
    }
    return "sha256-" + SupervisorAPI.base64(SHA256.digest(page[start.upperBound..<end.lowerBound])[...])
  }

  private static let html = #"""
    <!doctype html>
    <html lang="en">
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width">
    <title>Hero Supervisor</title>
    <style>
      :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
      body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
      h1 { font-size: 1.3rem } h2 { font-size: 1rem; margin-top: 2rem }
      table { border-collapse: collapse; width: 100% }
      th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884 }
      #runners th:nth-child(n+4), td.number { text-align: right; font-variant-numeric: tabular-nums }
      td.failed, td.timeout, td.stopped { color: #c33 } td.completed, td.running { color: #293 }
      code { overflow-wrap: anywhere } #error { color: #c33 }
    </style>
    <h1>Hero Supervisor</h1>
    <p id="error" role="alert"></p>
    <p id="login" hidden><label>Key: <input id="key" type="password" autocomplete="current-password"></label></p>
    <h2>Runners</h2>
    <table id="runners"><thead><tr><th>name<th>queue<th>state<th>queued<th>running<th>completed<th>failed<th>timeout
    <tbody></table>
    <h2>Latest jobs</h2>
    <table id="jobs"><thead><tr><th>id<th>runner<th>executor<th>status<th>created<tbody></table>
    <script>
      const element = id => document.getElementById(id);
      let key = "";
      element("key").addEventListener("change", event => { key = event.target.value; refresh(); });
      async function call(method, params) {
        const headers = {"Content-Type": "application/json"};
        if (key) headers.Authorization = "Bearer " + key;
        const response = await fetch("/rpc", {
          method: "POST", headers, body: JSON.stringify({jsonrpc: "2.0", id: 1, method, params}),
        });
        const answer = await response.json();
        if (answer.error) {
          element("login").hidden = answer.error.code !== -32001;
          throw new Error(answer.error.message);
        }
        return answer.result;
      }
      function fill(table, rows) {
        const body = element(table).tBodies[0];
        body.replaceChildren(...rows.map(row => {
          const line = document.createElement("tr");
          for (const value of row) {
            const cell = line.insertCell();
            cell.textContent = value;
            cell.className = typeof value === "number" ? "number" : value;
          }
          return line;
        }));
      }
      async function refresh() {
        try {
          const runners = await call("get_all_runner_status", []);
          fill("runners", runners.map(r =>
            [r.name, r.queue, r.state, r.queued, r.running, r.completed, r.failed, r.timeout]));
          const page = await call("jobs.query", {limit: 50});
          fill("jobs", page.jobs.map(j => [j.id, j.runner, j.executor, j.status, j.created_at]));
          element("error").textContent = "";
          element("login").hidden = true;
        } catch (error) {
          element("error").textContent = error.message;
        }
      }
      refresh();
      setInterval(() => { if (!document.hidden) refresh(); }, 2000);
    </script>
    </html>
    """#
}
