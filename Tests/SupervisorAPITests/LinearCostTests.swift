// What a request costs the loop must grow no faster than its bytes, whoever sends it. Wall-clock time says little on a
// busy machine, so the processor time of the loop's thread is compared.

import Glibc
import HTTPServer
import Testing

@Suite("Cost of requests", .timeLimit(.minutes(15)), .serialized)
struct LinearCostTests {
  private static let small = 64 << 10
  private static let large = 1 << 20

  @Test("the processor time of any request is linear in its size")
  func linear() async throws {
    var options = TestNode.Options()
    options.http.maxHeaderBytes = 4 << 20
    options.http.maxTargetBytes = 4 << 20
    options.http.corsOrigins = ["https://ops.example"]
    try await TestNode.run(options) { node async throws in
      // The first request pays for what is made once.
      _ = try await node.exchange(Shape.header("X-Warm-Up", "1"))
      var lines: [String] = []
      for shape in Shape.all {
        let small = try await node.cost(of: shape, bytes: Self.small)
        #expect(small.milliseconds <= Limit.small, "\(shape.name): \(small) for 64 KiB")
        // Where 64 KiB take seconds, 1 MiB takes an hour.
        guard small.milliseconds <= Limit.small else {
          lines.append(Self.line(shape.name, small, nil))
          continue
        }
        let large = try await node.cost(of: shape, bytes: Self.large)
        #expect(large.milliseconds <= Limit.large(small.milliseconds), "\(shape.name): \(small), then \(large)")
        lines.append(Self.line(shape.name, small, large))
      }
      print("processor time of the loop, ms:     64 KiB     1 MiB  status")
      for line in lines { print(line) }
    }
  }

  private static func line(_ name: String, _ small: Cost, _ large: Cost?) -> String {
    func column(_ cost: Cost?) -> String {
      let text = cost.map { "\(($0.milliseconds * 100).rounded() / 100)" } ?? "-"
      return String(repeating: " ", count: max(0, 10 - text.utf8.count)) + text
    }
    let title = name + String(repeating: " ", count: max(0, 32 - name.utf8.count))
    return "\(title)\(column(small))\(column(large))  \(large?.status ?? small.status)"
  }
}

/// How long a request of some size may keep the loop.
private enum Limit {
  #if DEBUG
    /// Unoptimised code is some thirty times slower; what must hold here is the proportion.
    static let small = 400.0
    static func large(_ small: Double) -> Double { 16 * 3 * small + 60 }
  #else
    /// 40 ms for each MiB, half as much for the client, which lives on the same loop, and what a request costs whatever
    /// its size.
    static let small = 60.0 / 16 + 10
    static func large(_ small: Double) -> Double { 60 + 10 }
  #endif
}

private struct Cost: CustomStringConvertible {
  var milliseconds: Double
  var status: Int
  var description: String { "\(milliseconds) ms" }
}

extension TestNode {
  /// The least processor time of the loop's thread of several tries; client and server both live on it.
  fileprivate func cost(of shape: Shape, bytes: Int) async throws -> Cost {
    var least = Cost(milliseconds: .infinity, status: 0)
    for attempt in 0..<3 {
      let request = shape.request(bytes, "\(shape.name)-\(bytes)-\(attempt)")
      let before = await loopTime()
      let status = try await exchange(request).status
      let milliseconds = Double(await loopTime() - before) / 1e6
      if milliseconds < least.milliseconds { least = Cost(milliseconds: milliseconds, status: status) }
      if milliseconds > 2000 { break }
    }
    return least
  }

  /// Nanoseconds of processor time that the loop's thread has used.
  private func loopTime() async -> UInt64 {
    await withCheckedContinuation { continuation in
      loop.execute {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        continuation.resume(returning: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
      }
    }
  }
}

/// A kind of request that comes in any size.
private struct Shape: Sendable {
  let name: String
  /// The bytes of a request of about so many bytes; the text is unique, for ids.
  let request: @Sendable (Int, String) -> [UInt8]

  static func header(_ name: String, _ value: String) -> [UInt8] {
    http(["Host: 127.0.0.1", "\(name): \(value)"], call("list_runners", "[]"))
  }

  /// Text that costs most to normalise: runs of combining marks in the wrong order.
  private static func marks(_ bytes: Int) -> String {
    "a" + ["\u{345}", "\u{301}", "\u{316}", "\u{327}"].map { String(repeating: $0, count: bytes / 8) }.joined()
  }

  private static func call(_ method: String, _ params: String) -> String {
    #"{"jsonrpc":"2.0","id":1,"method":"\#(method)","params":\#(params)}"#
  }

  private static func http(_ fields: [String], _ body: String, target: String = "/") -> [UInt8] {
    let lines =
      ["POST \(target) HTTP/1.1", "Connection: close", "Content-Type: application/json"] + fields
      + ["Content-Length: \(body.utf8.count)", "", body]
    return Array(lines.joined(separator: "\r\n").utf8)
  }

  private static func body(_ name: String, _ body: @escaping @Sendable (Int) -> String) -> Shape {
    Shape(name: name) { bytes, _ in http(["Host: 127.0.0.1"], body(bytes)) }
  }

  private static func fields(_ name: String, _ fields: @escaping @Sendable (Int) -> [String]) -> Shape {
    Shape(name: name) { bytes, _ in http(fields(bytes), call("list_runners", "[]")) }
  }

  /// A call of `jobs.create` with a job in which one field has another value.
  private static func job(_ field: String, _ value: @escaping @Sendable (Int) -> String, _ name: String? = nil) -> Shape
  {
    Shape(name: "job: \(name ?? field)") { bytes, id in
      var members = [
        "id": "\"\(id)\"", "caller_id": "\"c\"", "context_id": "\"c\"", "payload": "\"\"", "runner": "\"r\"",
        "executor": "\"shell\"", "timeout": "1", "env_vars": "{}", "created_at": "\"\"", "updated_at": "\"\"",
      ]
      members[field] = value(bytes)
      let job = members.map { "\"\($0)\":\($1)" }.joined(separator: ",")
      return http(["Host: 127.0.0.1"], call("jobs.create", #"{"secret":"\#(Key.user)","job":{\#(job)}}"#))
    }
  }

  private static func repeated(_ bytes: Int, _ unit: String) -> String {
    Array(repeating: unit, count: bytes / (unit.utf8.count + 1)).joined(separator: ",")
  }

  private static func quotedMarks(_ bytes: Int) -> String { "\"\(marks(bytes))\"" }

  private static func members(_ bytes: Int, prefix: String) -> String {
    let count = bytes / (prefix.utf8.count + 13)
    return (0..<count).map { "\"\(prefix)\(1_000_000 + $0)\":1" }.joined(separator: ",")
  }

  static let all: [Shape] = envelopes + values + jobs + lists + heads

  private static let envelopes: [Shape] = [
    body("marks: key") { #"{"\#(marks($0))":1}"# },
    body("marks: two keys") { #"{"\#(marks($0 / 2))":1,"\#(marks($0 / 2))b":1}"# },
    body("marks: escaped key") { #"{"a\#(String(repeating: #"\u0345\u0301\u0316\u0327"#, count: $0 / 24))":1}"# },
    body("marks: jsonrpc") { #"{"jsonrpc":"\#(marks($0))","id":1,"method":"list_runners"}"# },
    body("marks: method") { call(marks($0), "[]") },
    body("marks: id") { #"{"jsonrpc":"2.0","id":"\#(marks($0))","method":"list_runners"}"# },
    body("marks: parameter name") { call("job.status", #"{"\#(marks($0))":1}"#) },
    body("marks: field name") { call("jobs.query", #"{"\#(marks($0))":1}"#) },
  ]

  private static let values: [Shape] = [
    body("long integer") { #"{"jsonrpc":"2.0","id":\#(String(repeating: "7", count: $0))}"# },
    body("long fraction") { call("job.status", "[1.\(String(repeating: "7", count: $0))]") },
    body("long exponent") { call("job.status", "[1e\(String(repeating: "0", count: $0))1]") },
    body("deep nesting") { String(repeating: "[", count: $0) },
    body("nesting to the limit") {
      call("job.status", "[\(repeated($0, String(repeating: "[", count: 100) + String(repeating: "]", count: 100)))]")
    },
    body("many keys") { call("job.status", "{\(members($0, prefix: ""))}") },
    body("keys of one prefix") { call("job.status", "{\(members($0, prefix: String(repeating: "k", count: 200)))}") },
    body("many short strings") { call("job.status", "[\(repeated($0, "\"ab\""))]") },
    body("many numbers") { call("job.status", "[\(repeated($0, "1"))]") },
    body("many empty objects") { call("job.status", "[\(repeated($0, "{}"))]") },
    body("escapes") { call("job.status", "[\"\(String(repeating: #"\n\u0041"#, count: $0 / 8))\"]") },
    body("batch of empty objects") { "[\(repeated($0, "{}"))]" },
    body("batch of 1000 long members") {
      "[\(Array(repeating: #"{"\#(marks($0 / 1000))":1}"#, count: 1000).joined(separator: ","))]"
    },
    body("control characters") { call("job.status", "[\"\(String(repeating: "\u{7F}\u{200E}", count: $0 / 4))\"]") },
  ]

  private static let jobs: [Shape] = [
    job("id", quotedMarks), job("caller_id", quotedMarks), job("payload", quotedMarks), job("runner", quotedMarks),
    job("executor", quotedMarks), job("timeout", quotedMarks),
    job("env_vars", { #"{"\#(marks($0))":"1"}"# }, "variable's name"),
    job("env_vars", { #"{"A":"\#(marks($0))"}"# }, "variable's value"),
    job("env_vars", { "{\(members($0, prefix: "A").replacing(":1", with: ":\"1\""))}" }, "many variables"),
    body("marks: secret") { call("job.start", #"{"secret":\#(quotedMarks($0)),"job_id":"j"}"#) },
    body("marks: job_id") { call("job.status", "[\(quotedMarks($0))]") },
    body("marks: actor_id") { call("get_runner_status", "[\(quotedMarks($0))]") },
    body("marks: stream") { call("job.logs", #"{"job_id":"j","stream":\#(quotedMarks($0))}"#) },
  ]

  private static let lists: [Shape] = ["runner", "status", "caller_id", "created_from", "cursor"].map { field in
    body("filter: \(field)") { call("jobs.query", #"{"\#(field)":\#(quotedMarks($0))}"#) }
  }

  private static let heads: [Shape] = [
    fields("header: Origin") { ["Host: 127.0.0.1", "Origin: \(marks($0))"] },
    fields("header: Authorization") { ["Host: 127.0.0.1", "Authorization: Bearer \(marks($0))"] },
    fields("header: Host") { ["Host: \(marks($0))"] },
    fields("header: long Host") { ["Host: \(String(repeating: "a.", count: $0 / 2))"] },
    fields("header: name") { ["Host: 127.0.0.1", "\(String(repeating: "x", count: $0)): 1"] },
    fields("headers: many") { bytes in ["Host: 127.0.0.1"] + Array(repeating: "A: b", count: bytes / 6) },
    Shape(name: "target: marks") { bytes, _ in http(["Host: 127.0.0.1"], "", target: "/\(marks(bytes))") },
    Shape(name: "target: a host") { bytes, _ in http(["Host: 127.0.0.1"], "", target: "http://\(marks(bytes))") },
  ]
}
