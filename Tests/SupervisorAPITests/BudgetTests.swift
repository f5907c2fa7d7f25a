// Large requests and answers: who may have them, and what they take of the node.

import Glibc
import HTTPServer
import JSONRPC
import Testing

@Suite("Large requests and answers", .timeLimit(.minutes(10)), .serialized)
struct BudgetTests {
  private static let large = String(repeating: "x", count: 9 << 20)

  /// A node whose methods all need a key.
  private static var closed: TestNode.Options {
    var options = TestNode.Options()
    options.openMethods = .closed(reason: "the test")
    return options
  }

  private static func request(_ params: String, id: String = "7", method: String = "job.run") -> String {
    #"{"jsonrpc":"2.0","id":\#(id),"method":"\#(method)","params":\#(params)}"#
  }

  private static func echo(_ id: String, _ payload: String) -> String { job(id, payload, executor: "echo").text }

  @Test(
    "a payload of 9 MiB is taken from who gives its key in the body, wherever it stands",
    arguments: [
      #"{"secret":"KEY","job":JOB}"#, #"{"job":JOB,"secret":"KEY"}"#, #"[{"job":JOB,"secret":"KEY"}]"#,
      #"{"params":{"job":JOB,"s\u0065cret":"KEY"}}"#,
    ])
  func keyInBody(params: String) async throws {
    try await TestNode.run(Self.closed) { node async throws in
      let params = params.replacing("KEY", with: Key.user).replacing("JOB", with: Self.echo("big", Self.large))
      let answer = try await node.post(Self.request(params)).json()
      #expect(answer["result"]?["success"]?.stringValue?.utf8.count == Self.large.utf8.count)
      #expect(answer["id"] == 7)
      #expect(await eventually { await node.server.statistics.requestBudget.known == 0 })
      let held = await node.server.statistics
      #expect(held.requestBudget.strangers == 0 && held.answerBudget.strangers == 0 && held.answerBudget.known == 0)
    }
  }

  @Test(
    "a payload of 9 MiB without a key is refused before anything is built of it, whatever looks like one",
    arguments: [
      (#"{"job":"#, "is missing"), (#"{"secret":"guess-77","job":"#, "is not known here"),
      (#"{"secret":"","job":"#, "is missing"), (#"{"x":{"secret":"KEY"},"job":"#, "is missing"),
      (#"{"x":"\"secret\":\"KEY\"","job":"#, "is missing"),
    ])
  func noKey(beginning: String, reason: String) async throws {
    try await TestNode.run(Self.closed) { node async throws in
      let decoy = job(
        "big", Self.large + #","secret":"\#(Key.user)","#, executor: "echo",
        environment: ["secret": .string(Key.user)])
      let body = Self.request(beginning.replacing("KEY", with: Key.user) + decoy.text + "}", id: #""i""#)
      let before = peakKilobytes()
      let answer = try await node.post(body)
      #expect(answer.status == 200)
      let error = try answer.json()["error"]
      #expect(error?["code"] == -32001)
      #expect(error?["message"]?.stringValue?.contains(reason) == true, "\(answer.text)")
      #expect(try answer.json()["id"] == "i")
      #expect(!answer.text.contains(Key.user))
      // The request itself, here as the client's and there as the server's; a tree would be as much again.
      #expect(peakKilobytes() - before < 80_000)
      #expect(await eventually { await node.server.statistics.requestBudget.strangers == 0 })
      let header = try await node.post(body, headers: ["Authorization: Bearer \(Key.user)"])
      // With the header it is looked at, and the key that stands in the body beats it.
      let expected: JSON? = beginning.contains("guess") ? -32001 : nil
      #expect(try header.json()["error"]?["code"] == expected)
    }
  }

  @Test("one call of a large batch shows the key of all; a duplicate is a parse error; a notification is silent")
  func batchesAndDuplicates() async throws {
    try await TestNode.run(Self.closed) { node async throws in
      let long = String(repeating: "y", count: 100_000)
      let mine = #"{"secret":"\#(Key.user)","job":\#(Self.echo("a", long))}"#
      let other = #"{"secret":"guess-77","job":\#(Self.echo("b", long))}"#
      let answers = try await node.post("[\(Self.request(other, id: "1")),\(Self.request(mine, id: "2"))]").json()
      let codes = answers.arrayValue?.map { $0["error"]?["code"] ?? .null }
      #expect(Set(codes ?? []) == [-32001, .null])

      let refused = try await node.post("[\(Self.request(other, id: "1")),\(Self.request(other, id: "2"))]").json()
      #expect(refused["error"]?["code"] == -32001 && refused["id"] == .null)

      let twice = #"{"secret":"guess-77","secret":"\#(Key.user)","job":\#(Self.echo("c", long))}"#
      let duplicate = try await node.post(Self.request(twice)).json()
      #expect(duplicate["error"]?["code"] == -32700)
      #expect(duplicate["error"]?["message"]?.stringValue?.contains("duplicate object key") == true)

      let notification = #"{"jsonrpc":"2.0","method":"job.run","params":\#(other)}"#
      let silent = try await node.post(notification)
      #expect(silent.status == 204 && silent.body.isEmpty)
      // Another type and another path are answered as ever, whoever asks.
      #expect(try await node.post(other, contentType: "text/plain").status == 415)
      #expect(try await node.post(other, to: "/nothing").status == 404)
    }
  }

  @Test("a node with open methods takes large requests that need no key")
  func openNode() async throws {
    try await TestNode.run { node async throws in
      let calls = (0..<900).map { n in
        Self.request(#"["\#(String(repeating: "j", count: 100))-\#(n)"]"#, id: "\(n)", method: "job.status")
      }
      let answers = try await node.post("[\(calls.joined(separator: ","))]").json()
      #expect(answers.arrayValue?.count == 900)
      #expect(answers.arrayValue?.allSatisfy { $0["error"]?["code"] == -32002 } == true)
      let name = String(repeating: "z", count: 5 << 20)
      let answer = try await node.post(Self.request(#"["\#(name)"]"#, method: "job.status")).json()
      #expect(answer["error"]?["code"] == -32602)
    }
  }

  @Test("a body that can have no room is refused with 503, Retry-After and -32009")
  func noRoom() async throws {
    var options = Self.closed
    options.http.maxStrangerBytes = 1 << 20
    try await TestNode.run(options) { node async throws in
      let payload = String(repeating: "x", count: 900_000)
      let body = Self.request(#"{"secret":"\#(Key.user)","job":\#(Self.echo("a", payload))}"#)
      let head = [
        "POST / HTTP/1.1", "Host: \(node.endpoint)", "Content-Type: application/json",
        "Content-Length: \(body.utf8.count)",
      ].joined(separator: "\r\n")
      let slow = try HeldSocket(port: Int(node.endpoint.port))
      slow.send(Array((head + "\r\n\r\n" + body.prefix(800_000)).utf8))
      #expect(await eventually { await node.server.statistics.requestBudget.strangers > 700_000 })
      let refused = try await node.post(body)
      #expect(refused.status == 503)
      #expect(refused.headers["retry-after"] == "1")
      #expect(try refused.json()["error"]?["code"] == -32009)
      // Small ones go through, and so do those with the header.
      #expect(try await node.run(job("small", executor: "echo")) == ["success": ""])
      let keyed = try await node.post(body, headers: ["Authorization: Bearer \(Key.user)"]).json()
      #expect(keyed["result"] != nil)
      slow.close()
      #expect(try await eventually { try await node.post(body).status == 200 })
    }
  }

  @Test("many calls in a batch for the output of one job hold little, and let the loop go on")
  func batchOfLogs() async throws {
    try await TestNode.run { node async throws in
      let text = String(repeating: "x", count: 1 << 20)
      #expect(try await node.run(job("big", text, executor: "echo")) == ["success": .string(text)])
      let call = Self.request(#"{"job_id":"big","limit":1048576}"#, method: "job.logs")
      let batch = "[\(Array(repeating: call, count: 200).joined(separator: ","))]"
      let before = peakKilobytes()
      let longest = LongestPause(on: node)
      let answer = try await node.post(batch, headers: ["Authorization: Bearer \(Key.user)"])
      let pause = await longest.stop()
      let grown = peakKilobytes() - before
      let answers = try answer.json().arrayValue ?? []
      #expect(answers.count == 200 && answers.count { $0["result"] != nil } == 9)
      #expect(answers.count { $0["error"]?["code"] == -32008 } == 191)
      print("200 job.logs of 1 MiB in a batch: \(grown / 1024) MiB more, the loop stood for \(pause) ms at most")
      #expect(grown < 150_000)
      #if !DEBUG
        #expect(pause < 50)
      #endif
      #expect(await eventually { await node.server.statistics.answerBudget.known == 0 })
    }
  }

  @Test("lists of 9 MB that a hundred clients do not read stay within the budget; whoever reads gets the whole")
  func unreadLists() async throws {
    var options = TestNode.Options()
    options.http.maxBufferedBytes = 64 << 20
    try await TestNode.run(options) { node async throws in
      for number in 0..<9 { try await node.create(job("j\(number)", String(repeating: "x", count: 1_000_000))) }
      let before = peakKilobytes()
      let body = Self.request("[]", method: "jobs.list")
      let request = [
        "POST / HTTP/1.1", "Host: \(node.endpoint)", "Content-Type: application/json",
        "Authorization: Bearer \(Key.user)", "Content-Length: \(body.utf8.count)", "", body,
      ].joined(separator: "\r\n")
      var clients: [HeldSocket] = []
      for _ in 0..<100 {
        let client = try HeldSocket(port: Int(node.endpoint.port), receiveBuffer: 4096)
        client.send(Array(request.utf8))
        clients.append(client)
      }
      #expect(await eventually { await node.server.statistics.requests >= 109 })
      // Each holds a page and the piece that its client does not take; the others have found no room for it.
      #expect(await eventually { await node.server.statistics.answerBudget.refusedKnown > 20 })
      #expect(await node.server.statistics.answerBudget.known <= 64 << 20)
      #expect(try await node.call("list_runners") == ["r"])
      print("100 unread jobs.list of 9 MB: \((peakKilobytes() - before) / 1024) MiB more, 64 allowed")
      #expect(peakKilobytes() - before < 200_000)
      for client in clients { client.close() }
      #expect(await eventually { await node.server.statistics.answerBudget.known == 0 })
      #expect(try await node.call("jobs.list").arrayValue?.count == 9)
      #expect(await eventually { await node.server.statistics.answerBudget.strangers == 0 })
    }
  }

  @Test("a client that has closed its side waits no longer: its calls end, their jobs go on")
  func abandonedWaits() async throws {
    let directory = TemporaryDirectory()
    try await TestNode.run { node async throws in
      try await node.start(job("slow", "while [ ! -e \(directory.path)/go ]; do sleep 0.01; done; echo done"))
      let call = Self.request(#"["slow"]"#, method: "job.result")
      let body = "[\(Array(repeating: call, count: 100).joined(separator: ","))]"
      let request = [
        "POST / HTTP/1.1", "Host: \(node.endpoint)", "Content-Type: application/json",
        "Content-Length: \(body.utf8.count)", "", body,
      ].joined(separator: "\r\n")
      let clients = try (0..<5).map { _ in try HeldSocket(port: Int(node.endpoint.port)) }
      for client in clients { client.send(Array(request.utf8)) }
      // As many of a batch as run at a time.
      #expect(await eventually { await node.waiters("slow") == 5 * 16 })
      for client in clients { client.halfClose() }
      #expect(await eventually { await node.waiters("slow") == 0 })
      #expect(await eventually { await node.server.statistics.abandoned == 5 })
      #expect(try await node.status("slow") == "running")
      directory.write("", to: "go")
      try await node.expect("slow", becomes: "completed")
    }
  }
}

/// How long a node's loop does not get to other work, by a timer that is due each millisecond.
private final class LongestPause {
  private let task: Task<Int, Never>

  init(on node: TestNode) {
    let loop = node.loop
    task = Task(executorPreference: loop) {
      var longest = 0.0
      while !Task.isCancelled {
        let start = ContinuousClock.now
        try? await loop.sleep(for: .milliseconds(1))
        longest = max(longest, (ContinuousClock.now - start) / .milliseconds(1) - 1)
      }
      return Int(longest)
    }
  }

  func stop() async -> Int {
    task.cancel()
    return await task.value
  }
}

/// The most memory that this process has had, in KiB.
func peakKilobytes() -> Int {
  var usage = rusage()
  getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
  return usage.ru_maxrss
}
