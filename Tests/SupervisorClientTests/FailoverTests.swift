import EventLoop
import Foundation
import HTTPServer
import JSONRPC
import Synchronization
import Testing

@testable import SupervisorClient

@Suite(.timeLimit(.minutes(5)))
struct FailoverTests {
  @Test("a refused connection moves the call to the next endpoint, which is asked first from then on")
  func refused() async throws {
    try await ClientFixture.run { request in
      reply(request) { _ in "served" }
    } _: { fixture in
      let dead = try await fixture.closedEndpoint()
      let client = SupervisorClient(endpoints: [dead, fixture.endpoint], loop: fixture.loop)
      let result1 = try await client.call("x")
      #expect(result1 == "served")
      let result2 = try await client.call("x")
      #expect(result2 == "served")
      #expect(await fixture.server.statistics.accepted == 1)
      await client.close()
    }
  }

  @Test("a refused connection moves the call on at once, without waiting for any time")
  func prompt() async throws {
    try await ClientFixture.run { request in
      reply(request) { _ in "served" }
    } _: { fixture in
      var limits = SupervisorClient.Limits()
      limits.connectTimeout = .seconds(3600)
      for _ in 0..<20 {
        let dead = try await fixture.closedEndpoint()
        let client = SupervisorClient(endpoints: [dead, fixture.endpoint], loop: fixture.loop, limits: limits)
        // The only time that a call knows is an hour: that it is answered at all is the work of the refusal.
        #expect(try await client.call("job.stop") == "served")
        await client.close()
      }
    }
  }

  @Test("when no endpoint can be reached, the error names them all")
  func noneReachable() async throws {
    try await ClientFixture.run { _ in
      .empty()
    } _: { fixture in
      let first = try await fixture.closedEndpoint()
      let second = try await fixture.closedEndpoint()
      let client = SupervisorClient(endpoints: [first, second], loop: fixture.loop)
      let error = try await failure { try await client.call("x") }
      #expect(
        error
          == .cannotConnect(
            endpoint: second, reason: "connection refused (tried before: \(first): connection refused)"))
      await client.close()
    }
  }

  @Test("a lost connection is not tried again unless the call may be made twice")
  func lost() async throws {
    try await ClientFixture.run { request in
      reply(request) { _ in "served" }
    } _: { fixture in
      let calls = Mutex(0)
      let loop = fixture.loop
      // A node that dies as soon as it has read the call.
      let (listener, endpoint) = try await onLoop(loop) {
        let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { stream in
          stream.startReading { event in
            guard case .bytes = event else { return stream.close() }
            calls.withLock { $0 += 1 }
            stream.reset()
          }
        }
        return (listener, Endpoint(host: "127.0.0.1", port: listener.localAddress!.port))
      }
      let client = SupervisorClient(endpoints: [endpoint, fixture.endpoint], loop: loop)
      let error = try await failure { try await client.call("job.stop") }
      #expect(error == .connectionLost(endpoint: endpoint, reason: "connection reset by peer"))
      #expect(await fixture.server.statistics.requests == 0)
      let result3 = try await client.call("job.status")
      #expect(result3 == "served")
      #expect(calls.withLock { $0 } == 2)

      // With nobody else to turn to, the error says that the call may have been carried out.
      let alone = SupervisorClient(endpoints: [endpoint, try await fixture.closedEndpoint()], loop: loop)
      let uncertain = try await failure { try await alone.call("jobs.create") }
      #expect(uncertain == .connectionLost(endpoint: endpoint, reason: "connection reset by peer"))
      await alone.close()
      await client.close()
      try await onLoop(loop) { listener.close() }
    }
  }

  @Test("a batch is made again only when each of its calls may be")
  func batches() async throws {
    try await ClientFixture.run { _ in
      .json(Array("[]".utf8))
    } _: { fixture in
      let loop = fixture.loop
      let (listener, endpoint) = try await onLoop(loop) {
        let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { stream in
          stream.startReading { _ in stream.reset() }
        }
        return (listener, Endpoint(host: "127.0.0.1", port: listener.localAddress!.port))
      }
      let client = SupervisorClient(endpoints: [endpoint, fixture.endpoint], loop: loop)
      let lost = ClientError.connectionLost(endpoint: endpoint, reason: "connection reset by peer")
      await #expect(throws: lost) { _ = try await client.batch([("job.status", .null), ("job.stop", .null)]) }
      #expect(await fixture.server.statistics.requests == 0)
      _ = try await client.batch([("job.status", .null), ("jobs.create", .null)])
      #expect(await fixture.server.statistics.requests == 1)
      await client.close()
      try await onLoop(loop) { listener.close() }
    }
  }

  @Test(
    "an answer that another node may give better is asked of the next, if the call may be made twice",
    arguments: [
      #"{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"n3 cannot be reached","data":{"node":"n3"}}}"#,
      #"{"jsonrpc":"2.0","id":1,"error":{"code":-32009,"message":"Try again later: the node is stopping"}}"#,
      "502", "503", "504",
    ])
  func elsewhere(answer: String) async throws {
    let asked = Mutex(0)
    try await ClientFixture.run { _ in
      asked.withLock { $0 += 1 }
      return Int(answer).map { .text("no node\n", status: $0) } ?? .json(Array(answer.utf8))
    } _: { first in
      try await ClientFixture.run { request in
        reply(request) { _ in "served" }
      } _: { second in
        for (method, isServed) in [("job.stop", false), ("job.status", true), ("jobs.create", true)] {
          let client = SupervisorClient(endpoints: [first.endpoint, second.endpoint], loop: first.loop)
          let result: JSON? = try? await client.call(method)
          #expect((result == "served") == isServed, "\(method)")
          await client.close()
        }
        #expect(asked.withLock { $0 } == 3)

        // Where nobody answers better, the reason is what the node said, not that others are away.
        let dead = try await first.closedEndpoint()
        let client = SupervisorClient(endpoints: [first.endpoint, dead], loop: first.loop)
        let error = try await failure { try await client.call("job.status") }
        switch error {
        case .rpc(let code, _, _): #expect([-32005, -32009].contains(code))
        case .httpStatus(_, let status, _): #expect(status == Int(answer))
        default: Issue.record("\(error)")
        }
        await client.close()
      }
    }
  }

  @Test("another error of the node is final: no other node is asked")
  func final() async throws {
    try await ClientFixture.run { _ in
      .json(Array(#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"No job"}}"#.utf8))
    } _: { first in
      try await ClientFixture.run { request in
        reply(request) { _ in "served" }
      } _: { second in
        let client = SupervisorClient(endpoints: [first.endpoint, second.endpoint], loop: first.loop)
        await #expect(throws: ClientError.rpc(code: -32002, message: "No job", data: nil)) {
          _ = try await client.call("job.status")
        }
        #expect(await second.server.statistics.requests == 0)
        await client.close()
      }
    }
  }

  @Test("of each method it is written down whether it may be called twice, and whether it waits for jobs")
  func table() throws {
    let twice = [
      "list_runners", "get_runner_status", "get_all_runner_status", "get_all_status", "jobs.list", "jobs.query",
      "job.status", "job.logs", "job.result", "cluster.members", "cluster.status", "key.list", "rpc.discover",
      "jobs.create", "job.start", "register_runner",
    ]
    let once = [
      "job.run", "job.stop", "job.delete", "remove_runner", "start_runner", "stop_runner", "start_all", "stop_all",
      "node.drain", "runner.move", "cluster.forget", "key.create", "key.revoke", "a.method.of.tomorrow",
    ]
    let waiting = [
      "job.run", "job.result", "job.stop", "stop_runner", "stop_all", "remove_runner", "node.drain", "runner.move",
      "a.method.of.tomorrow",
    ]
    for method in twice { #expect(SafeCalls.contains(method), "\(method)") }
    for method in once { #expect(!SafeCalls.contains(method), "\(method)") }
    for method in twice + once { #expect(SafeCalls.waits(method) == waiting.contains(method), "\(method)") }
  }

  @Test("for every method of the contract it is decided whether it may be called twice")
  func decided() throws {
    let root = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
    let file = try #require(FileManager.default.contents(atPath: "\(root)/openrpc.json"))
    let methods = try JSON.parse([UInt8](file))["methods"]?.arrayValue ?? []
    #expect(methods.count >= 21)
    for method in methods {
      let name = try #require(method["name"]?.stringValue)
      #expect(SafeCalls.knows(name), "\(name)")
    }
    #expect(!SafeCalls.contains("a.method.of.tomorrow"))
  }

  @Test("only what reads, and what names the thing it makes, is called twice")
  func safe() throws {
    let safe = [
      "list_runners", "get_runner_status", "get_all_runner_status", "get_all_status", "jobs.list", "jobs.query",
      "job.status", "job.logs", "job.result", "cluster.members", "cluster.status", "key.list", "rpc.discover",
      "jobs.create", "job.start", "register_runner",
    ]
    let once = [
      // Followed by its job's id instead.
      "job.run", "job.stop", "job.delete", "remove_runner", "start_runner", "stop_runner", "start_all", "stop_all",
      "node.drain", "runner.move", "cluster.forget", "key.create", "key.revoke",
    ]
    for method in safe { #expect(SafeCalls.contains(method), "\(method)") }
    for method in once { #expect(!SafeCalls.contains(method), "\(method)") }
  }
}
