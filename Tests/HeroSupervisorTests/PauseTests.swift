import Foundation
import JSONRPC
import SupervisorClient
import Testing

// Nodes that stand still, as a virtual machine that is moved: their peers take over, and then they go on where they were.
// HERO_PAUSE_ROUNDS is how often (3 by itself), HERO_PAUSE_SECONDS how long a node stands still at most (6 by itself).

@Suite("A cluster whose nodes stand still", .serialized, .timeLimit(.minutes(60)))
struct PauseTests {
  private let names = ["n1", "n2", "n3"]
  private static let environment = ProcessInfo.processInfo.environment
  private let rounds = environment["HERO_PAUSE_ROUNDS"].flatMap(Int.init) ?? 3
  private let maximum = environment["HERO_PAUSE_SECONDS"].flatMap(Int64.init) ?? 6

  private func payload(_ seconds: Double) -> String {
    "echo b $HERO_JOB_ID >>$RUNS; sleep \(seconds); echo e $HERO_JOB_ID >>$RUNS; echo done"
  }

  @Test("runs what waited in order, once, and not beside what the node that stood still was running", .chaos)
  func pauses() async throws {
    let chaos = Chaos.current
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      var dice = chaos.generator("pauses")
      for round in 0..<rounds {
        try await self.round(round, scene, &dice, chaos)
        check(round, scene)
      }
    }
  }

  private func round(
    _ round: Int, _ scene: ClusterScene, _ dice: inout some RandomNumberGenerator, _ chaos: Chaos
  ) async throws {
    let (owner, runner) = (names.randomElement(using: &dice)!, "r\(round)")
    try await scene.register(runner, at: owner)
    let ids = ["\(round)-long"] + (0..<5).map { "\(round)-q\($0)" }
    let entry = names.randomElement(using: &dice)!
    for id in ids {
      try await scene.start(job: id, on: runner, payload(id.hasSuffix("long") ? 4 : 0.1), at: entry)
    }
    var victims = [owner]
    // The one that took over, or will receive, stands still as well, or the owner once more.
    for _ in 0..<Int.random(in: 0...2, using: &dice) { victims.append(names.randomElement(using: &dice)!) }
    for (turn, victim) in victims.enumerated() {
      let pause = Int64.random(in: 1000...(maximum * 1000), using: &dice)
      chaos.note("\(round): \(victim) of \(owner)'s stands still for \(pause) ms")
      await scene.pause(victim)
      let others = names.filter { $0 != victim }
      let other = others.randomElement(using: &dice)!
      async let sent: Void = {
        // Whoever owns the runner by then takes it, if anybody does; its result is not asked for.
        do {
          try await scene.create("\(round)-new\(turn)", on: runner, payload(0.1), at: other)
          try await scene.start("\(round)-new\(turn)", at: other)
        } catch { chaos.note("\(round)-new\(turn) is refused: \(error)") }
      }()
      try await scene.loop.sleep(for: .milliseconds(pause))
      await scene.resume(victim)
      await sent
      try await scene.loop.sleep(for: .milliseconds(Int64.random(in: 0...1500, using: &dice)))
    }
    try await scene.agree(names)
    for id in ids {
      for name in names {
        try await scene.eventually("the result of \(id) at \(name)") {
          try await scene.call(name, "job.result", [.string(id)]) == ["success": "done\n"]
        }
      }
      let job = try await scene.call(entry, "jobs.query", ["params": ["runner": .string(runner)]])
      let found = job["jobs"]?.arrayValue?.filter { $0["id"]?.stringValue == id } ?? []
      #expect(found.count == 1 && found[0]["attempt"] == 1, "\(id): \(found.map(\.text))")
    }
  }

  /// What the jobs noted themselves.
  private func check(_ round: Int, _ scene: ClusterScene) {
    let text = (try? String(contentsOfFile: scene.runs, encoding: .utf8)) ?? ""
    let lines = text.split(separator: "\n").map(String.init).filter { $0.dropFirst(2).hasPrefix("\(round)-") }
    let old = lines.filter { !$0.contains("new") }
    let expected = (["\(round)-long"] + (0..<5).map { "\(round)-q\($0)" }).flatMap { ["b \($0)", "e \($0)"] }
    #expect(old == expected, "\(lines)")
    for line in Set(lines) where lines.count(where: { $0 == line }) > 1 { Issue.record("\(line) twice: \(lines)") }
  }
}
