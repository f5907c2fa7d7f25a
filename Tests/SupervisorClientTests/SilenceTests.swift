import EventLoop
import HTTPServer
import JSONRPC
import Synchronization
import Testing

@testable import SupervisorClient

@Suite(.timeLimit(.minutes(5)))
struct SilenceTests {
  /// Takes calls and answers none, as a node does that was stopped by SIGSTOP.
  private static func withSilentEndpoint(
    of fixture: ClientFixture, _ body: (Endpoint) async throws -> Void
  ) async throws {
    let loop = fixture.loop
    let (listener, endpoint) = try await onLoop(loop) {
      let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { stream in
        stream.startReading { if case .bytes = $0 { return } else { stream.close() } }
      }
      return (listener, Endpoint(host: "127.0.0.1", port: listener.localAddress!.port))
    }
    try await body(endpoint)
    try await onLoop(loop) { listener.close() }
  }

  private static var limits: SupervisorClient.Limits {
    var limits = SupervisorClient.Limits()
    limits.patience = .milliseconds(50)
    limits.silence = .milliseconds(200)
    limits.waitCheck = .milliseconds(50)
    limits.checkTime = .milliseconds(50)
    return limits
  }

  @Test("beside a silent endpoint the next is asked what may be asked twice, with a notice that names the silent one")
  func silentEndpoint() async throws {
    let asked = Mutex<[JSON]>([])
    try await ClientFixture.run { request in
      reply(request) { call in
        asked.withLock { $0.append(call["method"] ?? .null) }
        return "served"
      }
    } _: { fixture in
      try await Self.withSilentEndpoint(of: fixture) { silent in
        let notices = Mutex<[ClientNotice]>([])
        let client = SupervisorClient(
          endpoints: [silent, fixture.endpoint], loop: fixture.loop, limits: Self.limits
        ) { notice in notices.withLock { $0.append(notice) } }
        // What must not be done twice ends with an error, and is at most at the silent node.
        let error = try await failure { try await client.call("job.delete") }
        #expect(error == .timedOut(endpoint: silent, after: .milliseconds(400)))
        #expect(asked.withLock(\.self) == [])
        await client.close()

        notices.withLock { $0 = [] }
        let reader = SupervisorClient(
          endpoints: [silent, fixture.endpoint], loop: fixture.loop, limits: Self.limits
        ) { notice in notices.withLock { $0.append(notice) } }
        #expect(try await reader.call("list_runners") == "served")
        #expect(
          notices.withLock(\.self) == [.silent(silent, after: .milliseconds(50), next: fixture.endpoint)])
        // The one that answers is asked first from then on.
        #expect(try await reader.call("job.delete") == "served")
        await reader.close()
        #expect(asked.withLock(\.self) == ["list_runners", "job.delete"])
      }
    }
  }

  @Test("an endpoint that was only slow may still answer, and a call that nobody answers ends")
  func slowEndpoint() async throws {
    let isNextAsked = Mutex(false)
    try await ClientFixture.run { request in
      _ = await eventually { isNextAsked.withLock(\.self) }
      return reply(request) { _ in "late" }
    } _: { fixture in
      try await Self.withSilentEndpoint(of: fixture) { silent in
        var limits = Self.limits
        limits.silence = .seconds(100)
        let client = SupervisorClient(
          endpoints: [fixture.endpoint, silent], loop: fixture.loop, limits: limits
        ) { notice in isNextAsked.withLock { $0 = true } }
        #expect(try await client.call("list_runners") == "late")
        await client.close()
        let alone = SupervisorClient(endpoints: [silent], loop: fixture.loop, limits: Self.limits)
        let error = try await failure { try await alone.call("list_runners") }
        #expect(error == .timedOut(endpoint: silent, after: .milliseconds(200)))
        await alone.close()
      }
    }
  }

  @Test("an answer that comes in pieces is not silence")
  func pieces() async throws {
    try await ClientFixture.run { _ in
      .empty()
    } _: { fixture in
      let loop = fixture.loop
      let body = #"{"jsonrpc":"2.0","id":1,"result":true}"#
      let answer = Array("HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
      let timers = Mutex<[UncheckedTimer]>([])
      let (listener, endpoint) = try await onLoop(loop) {
        let listener = try TCPListener.listen(on: loop, address: SocketAddress(host: "127.0.0.1", port: 0)) { stream in
          var sent = 0
          stream.startReading { event in
            guard case .bytes = event else { return stream.close() }
            let timer = Timer(on: loop)
            timers.withLock { $0.append(UncheckedTimer(timer: timer)) }
            timer.schedule(after: .zero, repeating: .milliseconds(10)) {
              if sent < answer.count { stream.write([answer[sent]]) } else { timer.close() }
              sent += 1
            }
          }
        }
        return (listener, Endpoint(host: "127.0.0.1", port: listener.localAddress!.port))
      }
      let notices = Mutex(0)
      var limits = Self.limits
      // Far below the time that the whole answer takes, far above that between two of its pieces.
      limits.patience = .milliseconds(400)
      limits.silence = .milliseconds(500)
      let client = SupervisorClient(
        endpoints: [endpoint, fixture.endpoint], loop: loop, limits: limits
      ) { _ in notices.withLock { $0 += 1 } }
      #expect(try await client.call("list_runners") == true)
      #expect(notices.withLock(\.self) == 0)
      await client.close()
      try await onLoop(loop) {
        listener.close()
        for timer in timers.withLock(\.self) { timer.timer.close() }
      }
    }
  }

  private struct UncheckedTimer: @unchecked Sendable {
    // @unchecked: used on the loop only.
    let timer: Timer
  }

  @Test("a wait at a node that falls silent goes on at another, by the job's id")
  func waiting() async throws {
    let methods = Mutex<[String]>([])
    try await ClientFixture.run { request in
      reply(request) { call in
        methods.withLock { $0.append(call["method"]?.stringValue ?? "") }
        guard call["params"]?["job_id"] == "j1", call["params"]?["secret"] == "s" else { return .null }
        return call["method"] == "job.status" ? ["status": "running"] : ["success": "done"]
      }
    } _: { fixture in
      try await Self.withSilentEndpoint(of: fixture) { silent in
        let notices = Mutex<[ClientNotice]>([])
        let client = SupervisorClient(
          endpoints: [silent, fixture.endpoint], loop: fixture.loop, limits: Self.limits
        ) { notice in notices.withLock { $0.append(notice) } }
        let result = try await client.call("job.run", ["params": ["secret": "s", "job": ["id": "j1"]]])
        #expect(result == ["success": "done"])
        #expect(methods.withLock(\.self).first == "job.status" && methods.withLock(\.self).last == "job.result")
        #expect(!methods.withLock(\.self).contains("job.run"))
        // On a busy machine the other is silent for a moment as well, which is said too.
        #expect(
          notices.withLock(\.self).last
            == .waitGoesOn(job: "j1", reason: "no answer from \(silent) within \(Duration.milliseconds(50))"))
        await client.close()
      }
    }
  }

  @Test("a wait between two silent nodes looks again soon, since the other may only have been slow")
  func slowOther() async throws {
    let checks = Mutex(0)
    try await ClientFixture.run { request in
      guard let call = try? JSON.parse(request.body), call["method"] == "job.status" else {
        return reply(request) { _ in ["success": "done"] }
      }
      // Too slow for forty times, which would take so many seconds at the usual pace.
      if checks.withLock({
        $0 += 1
        return $0
      }) <= 40 {
        try? await Task.sleep(for: .seconds(1000))
      }
      return reply(request) { _ in ["status": "running"] }
    } _: { fixture in
      try await Self.withSilentEndpoint(of: fixture) { silent in
        var limits = Self.limits
        limits.waitCheck = .seconds(1)
        limits.recheck = .milliseconds(1)
        limits.checkTime = .milliseconds(20)
        let client = SupervisorClient(endpoints: [silent, fixture.endpoint], loop: fixture.loop, limits: limits)
        let result = try await client.call("job.result", ["j1"], timeout: .seconds(30))
        #expect(result == ["success": "done"])
        await client.close()
      }
    }
  }

  @Test("a wait that is not answered although its job has ended is asked for elsewhere")
  func forgottenAnswer() async throws {
    try await ClientFixture.run { request in
      // Waits for ever, as a connection does that a proxy has forgotten; answers all else.
      guard let call = try? JSON.parse(request.body), call["method"] != "job.run" else {
        try? await Task.sleep(for: .seconds(1000))
        return .empty()
      }
      return reply(request) { _ in ["status": "running"] }
    } _: { first in
      try await ClientFixture.run { request in
        reply(request) { $0["method"] == "job.status" ? ["status": "completed"] : ["success": "done"] }
      } _: { second in
        var limits = Self.limits
        // Both answer at once; that one of them is slow proves nothing here.
        limits.checkTime = .seconds(60)
        let client = SupervisorClient(endpoints: [first.endpoint, second.endpoint], loop: first.loop, limits: limits)
        let result = try await client.call("job.run", ["job": ["id": "j1"]])
        #expect(result == ["success": "done"])
        await client.close()
      }
    }
  }

  @Test("a result that takes long to come is waited for, and asked for once")
  func slowResult() async throws {
    let methods = Mutex<[String]>([])
    try await ClientFixture.run { request in
      guard let call = try? JSON.parse(request.body), let method = call["method"]?.stringValue else { return .empty() }
      methods.withLock { $0.append(method) }
      guard method == "job.result" else { return reply(request) { _ in ["status": "completed"] } }
      // Two seconds and more on its way: twice as long as an answer may stand still.
      var response = reply(request) { _ in ["success": "done"] }
      let left = Mutex(response.body[...])
      response.body = []
      response.rest = HTTPResponse.Rest(end: []) {
        try await Task.sleep(for: .milliseconds(100))
        let piece = left.withLock { bytes in
          defer { bytes = bytes.dropFirst(2) }
          return Array(bytes.prefix(2))
        }
        return piece.isEmpty ? nil : piece
      }
      return response
    } _: { fixture in
      var limits = Self.limits
      // Both answer at once; that one of them is slow proves nothing here.
      limits.checkTime = .seconds(60)
      let client = SupervisorClient(
        endpoints: [fixture.endpoint, fixture.endpoint], loop: fixture.loop, limits: limits)
      let result = try await client.call("job.result", ["j1"])
      #expect(result == ["success": "done"])
      let asked = methods.withLock(\.self)
      let results = asked.count { $0 == "job.result" }
      #expect(results == 1)
      #expect(asked.contains("job.status"))
      await client.close()
    }
  }

  @Test("a job that was seen and is gone when its node falls silent is not run again")
  func deletedJob() async throws {
    for isShown in [true, false] {
      let methods = Mutex<[String]>([])
      try await ClientFixture.run { request in
        guard let call = try? JSON.parse(request.body), let method = call["method"]?.stringValue else {
          return .empty()
        }
        methods.withLock { $0.append(method) }
        switch method {
        case "job.status" where isShown: return reply(request) { _ in ["status": "running"] }
        // An error of job.status shows no job.
        case "job.status", "job.result":
          return .json(Array(#"{"jsonrpc":"2.0","id":null,"error":{"code":-32002,"message":"No job"}}"#.utf8))
        default: return reply(request) { _ in ["success": "again"] }
        }
      } _: { fixture in
        try await Self.withSilentEndpoint(of: fixture) { silent in
          var limits = Self.limits
          limits.checkTime = .milliseconds(500)
          let client = SupervisorClient(endpoints: [silent, fixture.endpoint], loop: fixture.loop, limits: limits)
          let result = try? await client.call("job.run", ["job": ["id": "j1"]])
          #expect(result == (isShown ? nil : ["success": "again"]))
          #expect(methods.withLock { $0.contains("job.run") } != isShown)
          await client.close()
        }
      }
    }
  }

  @Test("the caller's time ends a wait, whatever the nodes do")
  func callersTime() async throws {
    try await ClientFixture.run { _ in
      .empty()
    } _: { fixture in
      try await Self.withSilentEndpoint(of: fixture) { silent in
        let client = SupervisorClient(endpoints: [silent], loop: fixture.loop, limits: Self.limits)
        let error = try await failure {
          try await client.call("job.result", ["job_id": "j1"], timeout: .milliseconds(150))
        }
        #expect(error == .timedOut(endpoint: silent, after: .milliseconds(150)))
        await client.close()
      }
    }
  }
}
