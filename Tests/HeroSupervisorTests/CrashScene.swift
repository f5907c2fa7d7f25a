import EventLoop
import Foundation
import JSONRPC
import SupervisorClient
import Testing

@testable import Supervisor

/// One data directory, a node after node on it, and clients that note down what they are told.
actor CrashScene {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  private let directory = TemporaryDirectory()
  private let secret = "key-of-the-crash-test"
  /// In the environment of every job of this scene, and of nothing else on the machine.
  private let tag: String
  private var ledger = Ledger()
  private var node: NodeProcess?
  /// A guard was killed, and no node has been ready since.
  private var mayHaveLeftovers = false
  /// The longest that a child was seen after its node's death, in milliseconds.
  private(set) var longestSurvival = 0.0

  init(loop: EventLoop) {
    self.loop = loop
    let name = "crash-\(getpid())"
    tag = "HERO_NODE=\(name)"
    directory.write(
      """
      {"auth": {"admin_secrets": ["\(secret)"]}, "jobs": {"drain_seconds": 5, "kill_grace_seconds": 0.2}, "runners": [
      {"name": "quick", "concurrency": 4, "max_attempts": 1000},
      {"name": "long", "concurrency": 4, "max_attempts": 2},
      {"name": "once", "concurrency": 2, "on_node_loss": "fail"}]}
      """, to: "cluster.json")
    arguments = ["--config", "\(directory.path)/cluster.json", "--name", name]
  }

  private let arguments: [String]
  private var runs: String { "\(directory.path)/runs" }

  var jobs: Int { ledger.entries.count }
  var log: String { node?.log ?? "" }

  // MARK: Node

  /// Starts a node; without waiting.
  func start() throws {
    node = try NodeProcess(directory: "\(directory.path)/data", arguments: arguments, on: loop)
  }

  /// Waits until it answers, and makes sure that nothing of its predecessor lives.
  func ready() async throws -> String {
    let node = node!
    let endpoint = try #require(await node.ready(), "the node did not start: \(node.log)")
    let born = ProcessTable.entry(node.pid)?.startTicks ?? 0
    for pid in children() {
      guard let entry = ProcessTable.entry(pid), !entry.isZombie else { continue }
      #expect(entry.startTicks >= born, "process \(pid) survived the restart")
    }
    mayHaveLeftovers = false
    return endpoint
  }

  /// Kills the node, and on request its guard first. With a guard, nothing may be left 100 ms later.
  func kill(withGuard: Bool) async {
    let node = node!
    let guardian = withGuard ? node.guardian : nil
    if let guardian { Glibc.kill(guardian, SIGKILL) }
    Glibc.kill(node.pid, SIGKILL)
    let status = await node.exit()
    #expect(status.signal == SIGKILL, "the node ended by itself: \(status)\n\(node.log.suffix(2000))")
    mayHaveLeftovers = mayHaveLeftovers || withGuard
    if mayHaveLeftovers { return }
    // Time in which this process itself was not scheduled, on a busy machine, is not counted.
    var elapsed = 0.0
    var last = ContinuousClock.now
    while !children().isEmpty && elapsed < 1000 {
      try? await loop.sleep(for: .milliseconds(1))
      let now = ContinuousClock.now
      elapsed += min((now - last) / .milliseconds(1), 10)
      last = now
    }
    longestSurvival = max(longestSurvival, elapsed)
    #expect(elapsed <= 100, "a child outlived its node by \(elapsed) ms")
  }

  /// Asks the node to stop, and answers its exit status; `nil` when a signal ended it.
  func terminate() async -> Int64? {
    Glibc.kill(node!.pid, SIGTERM)
    let status = await node!.exit()
    return status.signal == 0 ? status.code : nil
  }

  /// The living processes of this scene's jobs.
  func children() -> [Int32] { ProcessTable.pids().filter { ProcessTable.environment(of: $0, contains: tag) } }

  // MARK: Clients

  /// Calls one method after another until the node is gone.
  func client(_ endpoint: String, _ generator: SeededGenerator) async {
    var dice = generator
    let client = SupervisorClient(endpoints: [try! Endpoint(parsing: endpoint)], secret: secret, loop: loop)
    do throws(ClientError) {
      var mine: [String] = []
      while true {
        switch Int.random(in: 0..<10, using: &dice) {
        case 0...3: mine.append(try await echo(client))
        case 4...5: mine.append(try await run(client, on: "quick", payload: "echo $HERO_JOB_ID >>$RUNS; echo done"))
        case 6: try await run(client, on: "once", payload: "echo $HERO_JOB_ID >>$RUNS; sleep 0.02; echo done")
        case 7:
          // Deaf to SIGTERM, and with a descendant in a session of its own.
          let payload = "trap '' TERM; echo $HERO_JOB_ID >>$RUNS; setsid sleep 300 & sleep 300"
          let id = try await start(client, on: "long", payload: payload)
          if Bool.random(using: &dice) {
            ledger[id].stopAsked = true
            _ = try await client.call("job.stop", ["params": ["job_id": .string(id), "secret": .string(secret)]])
          }
        case 8: try await create(client, on: "quick", payload: "echo never")
        default:
          guard let id = mine.popLast() else { continue }
          ledger[id].deleteAsked = true
          _ = try await client.call("job.delete", ["params": ["job_id": .string(id), "secret": .string(secret)]])
          ledger[id].isDeleted = true
        }
      }
    } catch .rpc(let code, let message, _) {
      Issue.record("the node refused a call: \(message) (\(code))")
    } catch {
      // It was killed.
    }
    await client.close()
  }

  private func echo(_ client: SupervisorClient) async throws(ClientError) -> String {
    let id = ledger.newID("echo")
    ledger[id].startAsked = true
    let result = try await client.call("job.run", job(id, on: "quick", executor: "echo", payload: "echo of \(id)"))
    #expect(result == ["success": .string("echo of \(id)")])
    note(id, result)
    return id
  }

  /// Creates and starts a job, and waits for its end half of the times.
  @discardableResult
  private func run(
    _ client: SupervisorClient, on runner: String, payload: String
  ) async throws(ClientError) -> String {
    let id = try await start(client, on: runner, payload: payload)
    let result = try await client.call("job.result", ["job_id": .string(id)])
    #expect(result == ["success": "done\n"])
    note(id, result)
    return id
  }

  private func start(
    _ client: SupervisorClient, on runner: String, payload: String
  ) async throws(ClientError) -> String {
    let id = try await create(client, on: runner, payload: payload)
    ledger[id].startAsked = true
    _ = try await client.call("job.start", ["params": ["job_id": .string(id), "secret": .string(secret)]])
    ledger[id].isStarted = true
    return id
  }

  @discardableResult
  private func create(
    _ client: SupervisorClient, on runner: String, payload: String
  ) async throws(ClientError) -> String {
    let id = ledger.newID(runner)
    let answer = try await client.call("jobs.create", job(id, on: runner, executor: "shell", payload: payload))
    #expect(answer == .string(id))
    ledger[id].isCreated = true
    return id
  }

  private func note(_ id: String, _ result: JSON) {
    ledger[id].isCreated = true
    ledger[id].isStarted = true
    ledger[id].result = result
  }

  private func job(_ id: String, on runner: String, executor: String, payload: String) -> JSON {
    [
      "params": [
        "secret": .string(secret),
        "job": [
          "id": .string(id), "caller_id": "crash", "context_id": "", "payload": .string(payload),
          "runner": .string(runner), "executor": .string(executor), "timeout": 0,
          "env_vars": ["RUNS": .string(runs)], "created_at": "", "updated_at": "",
        ],
      ]
    ]
  }

  // MARK: Checks

  /// Compares what the node says with what clients were told: the newest jobs, or all.
  func check(_ endpoint: String, all: Bool) async throws {
    let client = SupervisorClient(endpoints: [try Endpoint(parsing: endpoint)], secret: secret, loop: loop)
    var found: Set<String> = []
    var cursor: JSON?
    repeat {
      var query: JSONObject = ["limit": all ? 1000 : 200, "view": "full"]
      query["cursor"] = cursor
      let page = try await client.call("jobs.query", ["params": .object(query)])
      for job in page["jobs"]?.arrayValue ?? [] {
        let id = job["id"]?.stringValue ?? ""
        found.insert(id)
        if let fault = ledger.fault(id, job) { Issue.record("\(fault)") }
      }
      cursor = page["next"]
    } while all && cursor != nil && cursor != .null
    if all {
      for id in ledger.entries.keys where !found.contains(id) {
        if let fault = ledger.fault(id, nil) { Issue.record("\(fault)") }
      }
    }
    await client.close()
  }

  /// Waits until every job that was acknowledged as started has ended.
  func finish(_ endpoint: String) async throws {
    let client = SupervisorClient(endpoints: [try Endpoint(parsing: endpoint)], secret: secret, loop: loop)
    for (id, entry) in ledger.entries where entry.isStarted && entry.result == nil {
      if id.hasPrefix("long") {
        ledger[id].stopAsked = true
        // One that has ended already cannot be stopped.
        _ = try? await client.call("job.stop", ["params": ["job_id": .string(id), "secret": .string(secret)]])
      }
      note(id, try await client.call("job.result", ["job_id": .string(id)], timeout: .seconds(60)))
    }
    await client.close()
  }

  /// How often each job's process ran.
  func countRuns() -> [String: Int] {
    let text = (try? String(contentsOfFile: runs, encoding: .utf8)) ?? ""
    return text.split(separator: "\n").reduce(into: [:]) { $0[String($1), default: 0] += 1 }
  }
}
