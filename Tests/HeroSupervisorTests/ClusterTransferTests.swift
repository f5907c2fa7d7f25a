import Foundation
import JSONRPC
import Testing

// Jobs that follow their runner from node to node, by name of what went wrong once or could.

@Suite("Jobs that follow their runner", .serialized, .timeLimit(.minutes(10)))
struct ClusterTransferTests {
  private let names = ["n1", "n2", "n3"]

  private func held(_ scene: ClusterScene) -> String {
    "echo b $HERO_JOB_ID >>$RUNS; until [ -e \(scene.runs).gate ]; do sleep 0.02; done; echo e $HERO_JOB_ID >>$RUNS; echo done"
  }
  private let short = "echo b $HERO_JOB_ID >>$RUNS; echo e $HERO_JOB_ID >>$RUNS; echo done"

  private func move(_ runner: String, to node: String, _ scene: ClusterScene) async throws {
    _ = try await scene.admin("runner.move", ["name": .string(runner), "node": .string(node)], at: "n1")
  }

  private func lines(_ scene: ClusterScene) -> [String] {
    ((try? String(contentsOfFile: scene.runs, encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
  }

  /// Runs a test with a runner `r`, one job at a time, that runs `long` until the gate is open.
  private func whileLongRuns(
    at owner: String, _ body: @escaping @Sendable (ClusterScene) async throws -> Void
  ) async throws {
    try await ClusterScene.run { scene async throws in
      try await scene.start(names)
      try await scene.register("r", at: owner)
      try await scene.start(job: "long", on: "r", held(scene), at: owner)
      try await scene.eventually("it runs") { self.lines(scene) == ["b long"] }
      try await body(scene)
    }
  }

  private func open(_ scene: ClusterScene) { _ = scene.write("", to: "runs.gate") }

  @Test("count what every earlier life of the runner still runs, wherever it was in between, also after a crash")
  func backAndForth() async throws {
    try await whileLongRuns(at: "n1") { scene async throws in
      let ids = (0..<8).map { "q\($0)" }
      for id in ids { try await scene.start(job: id, on: "r", short, at: "n2") }
      for target in ["n2", "n1", "n3", "n1", "n2", "n1"] {
        try await move("r", to: target, scene)
        // A job of another runner there passes: the node does start jobs.
        try await scene.register("other-\(target)", at: target)
        _ = try await scene.run("other-\(UUID())", on: "other-\(target)", "true", at: target)
        #expect(lines(scene) == ["b long"], "moved to \(target)")
      }
      await scene.kill("n1")
      try await scene.start("n1")
      open(scene)
      for id in ["long"] + ids {
        #expect(
          try await scene.call("n2", "job.result", [.string(id)], timeout: .seconds(100)) == ["success": "done\n"])
      }
      try await scene.agree(names)
      // The crash has ended its first attempt.
      #expect(lines(scene).filter { !$0.contains("long") } == ids.flatMap { ["b \($0)", "e \($0)"] })
      #expect(lines(scene).filter { $0 == "e long" }.count == 1)
    }
  }

  @Test("are found by an owner that followed while their node was down")
  func successorMovedOn() async throws {
    try await whileLongRuns(at: "n1") { scene async throws in
      try await scene.start(job: "next", on: "r", short, at: "n1")
      // What runs stays at n1, which knows n2 as the next owner.
      _ = try await scene.admin("runner.move", ["name": "r", "node": "n2"], at: "n3")
      await scene.kill("n1")
      for name in ["n2", "n3"] { try await scene.sees(name, ["n1": "failed"]) }
      _ = try await scene.admin("runner.move", ["name": "r", "node": "n3"], at: "n3")
      open(scene)
      try await scene.start("n1")
      for id in ["long", "next"] {
        #expect(
          try await scene.call("n2", "job.result", [.string(id)], timeout: .seconds(100)) == ["success": "done\n"])
      }
      try await scene.agree(names)
      #expect(try await scene.owners("n1") == ["r": "n3"])
    }
  }

  @Test("keep a start that was acknowledged, though the same job was created again elsewhere")
  func createdTwice() async throws {
    try await whileLongRuns(at: "n3") { scene async throws in
      try await scene.start(job: "twice", on: "r", short, at: "n3")
      await scene.pause("n3")
      for name in ["n1", "n2"] { try await scene.sees(name, ["n3": "failed"]) }
      try await scene.eventually("r has an owner") { try await scene.owners("n1")["r"].map { $0 != "nobody" } ?? false }
      try await scene.create("twice", on: "r", short, at: "n1")
      await scene.resume("n3")
      // It runs `long` as before, and has handed the other over.
      try await scene.agree(names)
      open(scene)
      #expect(try await scene.call("n1", "job.result", ["twice"], timeout: .seconds(100)) == ["success": "done\n"])
      try await scene.agree(names)
      #expect(lines(scene).filter { $0 == "b twice" }.count == 1)
    }
  }
}
