// Whoever guesses keys waits; whoever has one does not.

import EventLoop
import HTTPServer
import JSONRPC
import Testing

@testable import SupervisorAPI

@Suite("Guessing keys", .timeLimit(.minutes(5)))
struct GuessDelayTests {
  private func withDelay(_ body: (GuessDelay) throws -> Void) async throws {
    let loop = try EventLoop()
    loop.start()
    try body(GuessDelay(on: loop))
    await loop.stop()
  }

  private func address(_ text: String) -> HTTPPeer { .address(try! SocketAddress(parsing: text)) }

  @Test("twenty wrong keys are refused at once, more at twenty a minute, and an hour later at once again")
  func rate() async throws {
    try await withDelay { delay in
      let (peer, start) = (address("10.0.0.1:40000"), ContinuousClock.now)
      let pauses = (0..<40).map { _ in delay.pause(for: peer, reasons: ["unknown": 1], at: start) }
      #expect(pauses.prefix(20).allSatisfy { $0 == .zero })
      #expect(pauses[20] == .seconds(3) && pauses[22] == .seconds(9))
      #expect(pauses.allSatisfy { $0 <= .seconds(30) } && pauses.last == .seconds(30))
      // At the rate that is allowed nobody waits for longer and longer.
      let later = start + .seconds(3600)
      for number in 0..<100 {
        #expect(delay.pause(for: peer, reasons: ["unknown": 1], at: later + .seconds(3 * number)) == .zero)
      }
      #expect(delay.families.first { $0.name == "hero_wrong_keys_total" }?.samples[0].value == 140)
    }
  }

  @Test("addresses are told apart, whatever their port; of IPv6 the first 64 bits, of mapped ones the IPv4 address")
  func sources() async throws {
    try await withDelay { delay in
      let now = ContinuousClock.now
      func isLate(_ text: String) -> Bool {
        delay.pause(for: address(text), reasons: ["unknown": 1], at: now) > .zero
      }
      for port in 1...20 { #expect(!isLate("10.0.0.1:\(port)")) }
      #expect(isLate("10.0.0.1:99") && isLate("[::ffff:10.0.0.1]:5"))
      #expect(!isLate("10.0.0.2:99"))
      for host in 1...20 { #expect(!isLate("[2001:db8:1:2::\(host)]:1")) }
      #expect(isLate("[2001:db8:1:2:ffff::1]:1"))
      #expect(!isLate("[2001:db8:1:3::1]:1"))
      for _ in 0..<20 { _ = delay.pause(for: .user(uid: 7), reasons: ["unknown": 1], at: now) }
      #expect(delay.pause(for: .user(uid: 7), reasons: ["unknown": 1], at: now) > .zero)
      #expect(delay.pause(for: .user(uid: 8), reasons: ["unknown": 1], at: now) == .zero)
    }
  }

  @Test("a flood of addresses takes a bounded part of the memory, and guesses no faster")
  func flood() async throws {
    try await withDelay { delay in
      let now = ContinuousClock.now
      var late = 0
      for number in 0..<50_000 {
        let peer = address("10.\(number >> 16).\(number >> 8 & 255).\(number & 255):1")
        if delay.pause(for: peer, reasons: ["unknown": 1], at: now) > .zero { late += 1 }
      }
      #expect(delay.addresses <= GuessDelay.maximumAddresses + 1)
      #expect(late >= 39_000)
      // Who has waited is forgotten.
      #expect(delay.pause(for: address("10.9.9.9:1"), reasons: ["unknown": 1], at: now + .seconds(3600)) == .zero)
      #expect(delay.addresses == 1)
    }
  }

  @Test("a valid key is never late, not even from where wrong ones keep coming; these are, calls and large requests")
  func validKeys() async throws {
    var options = TestNode.Options()
    options.wrongKeys = 20
    try await TestNode.run(options) { node async throws in
      func time(_ key: String, payload: Int = 1) async throws -> Duration {
        let job: JSON = job("j", String(repeating: "x", count: payload), executor: "echo")
        let request: JSON = [
          "jsonrpc": "2.0", "id": 1, "method": "jobs.create", "params": ["secret": .string(key), "job": job],
        ]
        let start = ContinuousClock.now
        let answer = try await node.post(request.text, headers: []).json()
        #expect((answer["error"]?["code"] == -32001) == (key == "guess-77"))
        return ContinuousClock.now - start
      }
      for _ in 0..<20 { _ = try await time("guess-77") }
      async let small = time("guess-77")
      async let large = time("guess-77", payload: 100_000)
      // A hundred valid calls pass while these two wait.
      let start = ContinuousClock.now
      for _ in 0..<100 { _ = try await time(Key.user) }
      let valid = ContinuousClock.now - start
      let (first, second) = try await (small, large)
      #expect(min(first, second) >= .seconds(2.9) && max(first, second) >= .seconds(5.9))
      #expect(valid / 100 < .seconds(1))
      let page = try await node.exchange("GET", "/metrics").text
      #expect(page.contains("hero_wrong_keys_delayed_total 2"))
      #expect(page.contains(#"hero_wrong_keys_total{reason="unknown"} 22"#))
    }
  }

  @Test("many wrong keys in one request hold its answer back once, and all count")
  func batch() async throws {
    var options = TestNode.Options()
    options.wrongKeys = 3
    try await TestNode.run(options) { node async throws in
      let call: JSON = [
        "jsonrpc": "2.0", "id": 1, "method": "job.status", "params": ["job_id": "x", "secret": "guess-78"],
      ]
      let start = ContinuousClock.now
      let answer = try await node.post(JSON.array(Array(repeating: call, count: 5)).text, headers: []).json()
      let pause = ContinuousClock.now - start
      #expect(answer.arrayValue?.count == 5)
      #expect(answer.arrayValue?.allSatisfy { $0["error"]?["code"] == -32001 } == true)
      // Two more than are answered at once, at one in three seconds.
      #expect(pause >= .seconds(5.9))
      let page = try await node.exchange("GET", "/metrics").text
      #expect(page.contains("hero_wrong_keys_delayed_total 1"))
      #expect(page.contains(#"hero_wrong_keys_total{reason="unknown"} 5"#))
    }
  }
}
