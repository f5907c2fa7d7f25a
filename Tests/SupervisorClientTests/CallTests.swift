import EventLoop
import Glibc
import HTTPServer
import JSONRPC
import Logging
import Synchronization
import Testing

@testable import SupervisorClient

@Suite(.timeLimit(.minutes(5)))
struct CallTests {
  @Test("a call carries the key and brings the result")
  func result() async throws {
    try await ClientFixture.run { request in
      guard request.headers["authorization"] == "Bearer s3cret", request.path == "/rpc" else { return .empty(401) }
      return reply(request) { ["method": $0["method"] ?? .null, "params": $0["params"] ?? "none"] }
    } _: { fixture in
      let client = fixture.client(secret: "s3cret\n", path: "/rpc")
      let result1 = try await client.call("list_runners", ["a"])
      #expect(result1 == ["method": "list_runners", "params": ["a"]])
      let result2 = try await client.call("list_runners")
      #expect(result2 == ["method": "list_runners", "params": "none"])
      #expect(await fixture.server.statistics.accepted == 1)
      await client.close()
    }
  }

  @Test("a call to a unix socket is the same call, to localhost")
  func socket() async throws {
    let path = "/tmp/hero-client-\(getpid())-\(UInt32.random(in: .min ... .max)).sock"
    try await ClientFixture.run { request in
      reply(request) { _ in [.string("\(request.peer)"), .string(request.headers["host"] ?? "")] }
    } _: { fixture in
      try await fixture.server.listen(atSocket: path, for: [geteuid()])
      let client = SupervisorClient(
        endpoints: [Endpoint(socket: "\(path).none"), Endpoint(socket: path)], loop: fixture.loop)
      for _ in 0..<2 {
        let result = try await client.call("list_runners")
        #expect(result == [.string("uid \(geteuid())"), "localhost"])
      }
      #expect(await fixture.server.statistics.accepted == 1)
      await client.close()
      let nobody = SupervisorClient(endpoints: [Endpoint(socket: "\(path).none")], loop: fixture.loop)
      let error = try await failure { try await nobody.call("list_runners") }
      #expect("\(error)" == "cannot reach a node at unix:\(path).none: no such file or directory")
      await nobody.close()
    }
  }

  @Test("an answer tells which members it is missing")
  func unreachable() async throws {
    try await ClientFixture.run { request in
      var response = reply(request) { _ in ["a"] }
      if request.path == "/some" { response.headers.append(("Hero-Unreachable", "n3,  n 4 ,")) }
      return response
    } _: { fixture in
      let whole = fixture.client()
      let some = fixture.client(path: "/some")
      #expect(try await whole.answer(to: "list_runners").unreachable == [])
      let answer = try await some.answer(to: "list_runners")
      #expect(answer.result == ["a"] && answer.unreachable == ["n3", "n 4"])
      await whole.close()
      await some.close()
    }
  }

  @Test("an error of the node comes with code, message and data, whatever the HTTP status")
  func rpcError() async throws {
    try await ClientFixture.run { request in
      .json(
        Array(#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"no job j","data":{"job":"j"}}}"#.utf8),
        status: 404)
    } _: { fixture in
      let client = fixture.client()
      await #expect(throws: ClientError.rpc(code: -32002, message: "no job j", data: ["job": "j"])) {
        _ = try await client.call("job.status")
      }
      await client.close()
    }
  }

  @Test("several calls at a time each take a connection, and find it again")
  func concurrentCalls() async throws {
    try await ClientFixture.run { request in
      reply(request) { $0["params"] ?? .null }
    } _: { fixture in
      let client = fixture.client()
      for _ in 1...3 {
        try await withThrowingTaskGroup(of: Bool.self) { group in
          for number in 0..<20 {
            group.addTask { try await client.call("echo", [.int(Int64(number))]) == [.int(Int64(number))] }
          }
          for try await isRight in group { #expect(isRight) }
        }
      }
      #expect(await fixture.server.statistics.accepted <= 20)
      await client.close()
    }
  }

  @Test("a batch brings its outcomes in the order of its calls")
  func batch() async throws {
    try await ClientFixture.run { request in
      let calls = (try? JSON.parse(request.body))?.arrayValue ?? []
      let answers = calls.reversed().map { call -> JSON in
        call["method"] == "fail"
          ? ["jsonrpc": "2.0", "id": call["id"] ?? .null, "error": ["code": -32601, "message": "unknown"]]
          : ["jsonrpc": "2.0", "id": call["id"] ?? .null, "result": call["params"] ?? .null]
      }
      return .json(JSON.array(answers).serialized())
    } _: { fixture in
      let client = fixture.client()
      let outcomes = try await client.batch([("a", [1]), ("fail", .null), ("b", [2])])
      #expect(outcomes == [.success([1]), .failure(.rpc(code: -32601, message: "unknown", data: nil)), .success([2])])
      let result3 = try await client.batch([])
      #expect(result3 == [])
      await client.close()
    }
  }

  @Test("a notification ends when the node has taken it")
  func notification() async throws {
    let seen = Mutex<[String]>([])
    try await ClientFixture.run { request in
      seen.withLock { $0.append(String(decoding: request.body, as: UTF8.self)) }
      return .empty(204)
    } _: { fixture in
      let client = fixture.client()
      try await client.notify("ping")
      #expect(seen.withLock { $0 } == [#"{"jsonrpc":"2.0","method":"ping"}"#])
      await client.close()
    }
  }

  @Test("a page and a server that is no node are told apart")
  func noNode() async throws {
    try await ClientFixture.run { request in
      request.method == .get ? .text("alive") : .text("hello", status: request.body.count > 70 ? 502 : 200)
    } _: { fixture in
      let client = fixture.client()
      let page = try await client.get("/health")
      #expect(page.status == 200)
      #expect(page.body == Array("alive".utf8))
      let invalid = try await failure { try await client.call("x") }
      #expect(
        invalid.description.hasPrefix("\(fixture.endpoint) does not answer as a node does: its answer is not JSON"))
      let status = try await failure { try await client.call("x", [.string(String(repeating: "y", count: 70))]) }
      #expect(status == .httpStatus(endpoint: fixture.endpoint, status: 502, reason: "hello"))
      await client.close()
    }
  }

  @Test("a call that gets no answer in time ends, and the next one works")
  func timeout() async throws {
    try await ClientFixture.run { request in
      if request.body.count > 60 { try? await Task.sleep(for: .seconds(60)) }
      return reply(request) { _ in true }
    } _: { fixture in
      let client = fixture.client()
      let slow: JSON = .array([.string(String(repeating: "y", count: 70))])
      await #expect(throws: ClientError.timedOut(endpoint: fixture.endpoint, after: .milliseconds(50))) {
        _ = try await client.call("slow", slow, timeout: .milliseconds(50))
      }
      let result4 = try await client.call("fast", timeout: .seconds(60))
      #expect(result4 == true)
      await client.close()
    }
  }

  @Test("a cancelled call ends at once")
  func cancellation() async throws {
    let arrived = Mutex(false)
    try await ClientFixture.run { _ in
      arrived.withLock { $0 = true }
      try? await Task.sleep(for: .seconds(60))
      return .empty()
    } _: { fixture in
      let client = fixture.client()
      let call = Task { try await client.call("slow") }
      #expect(await eventually { arrived.withLock { $0 } })
      call.cancel()
      await #expect(throws: ClientError.cancelled) { _ = try await call.value }
      await client.close()
    }
  }

  @Test("a call that is cancelled at any moment of its beginning ends")
  func cancellationAtOnce() async throws {
    try await ClientFixture.run { _ in
      try? await Task.sleep(for: .seconds(60))
      return .empty()
    } _: { fixture in
      for round in 0..<300 {
        let client = fixture.client()
        let call = Task { try await client.call("slow") }
        for _ in 0..<round % 30 { await Task.yield() }
        call.cancel()
        await #expect(throws: ClientError.cancelled) { _ = try await call.value }
        await client.close()
      }
    }
  }
}
