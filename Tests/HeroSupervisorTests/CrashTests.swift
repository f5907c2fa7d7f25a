import EventLoop
import Glibc
import Testing

/// The promise that everything else rests on: what was acknowledged is on disk, and nothing outlives its node.
@Suite("A node that is killed", .timeLimit(.minutes(15)))
struct CrashTests {
  @Test(
    "200 times under load loses nothing that it acknowledged, runs nothing twice that must not, leaves no child",
    .chaos)
  func killed() async throws {
    let chaos = Chaos.current
    var dice = chaos.generator("killer")
    let loop = try EventLoop()
    loop.start()
    let scene = CrashScene(loop: loop)
    try await scene.start()
    for round in 1...200 {
      if round.isMultiple(of: 5) {
        // In the middle of its start, at the latest soon after.
        try await loop.sleep(for: .milliseconds(Int64.random(in: 0...150, using: &dice)))
      } else {
        let endpoint = try await scene.ready()
        try await scene.check(endpoint, all: round.isMultiple(of: 20))
        await withDiscardingTaskGroup { group in
          for client in 0..<4 {
            group.addTask { await scene.client(endpoint, chaos.generator("round \(round), client \(client)")) }
          }
          let pause = Int64.random(in: 1...120, using: &dice)
          try? await loop.sleep(for: .milliseconds(pause))
          chaos.note("round \(round): killed after \(pause) ms")
          await scene.kill(withGuard: round % 4 == 1)
          // A wait would go on for seconds, until the node is there again.
          group.cancelAll()
        }
        try await scene.start()
        continue
      }
      await scene.kill(withGuard: round % 4 == 1)
      try await scene.start()
    }
    let endpoint = try await scene.ready()
    try await scene.check(endpoint, all: true)
    try await scene.finish(endpoint)
    try await scene.check(endpoint, all: true)

    let runs = await scene.countRuns()
    #expect(runs.count > 100)
    for (id, count) in runs {
      if id.hasPrefix("once") { #expect(count == 1, "\(id) must not run again") }
      if id.hasPrefix("long") { #expect(count <= 2, "\(id) has two attempts") }
    }
    let end = await scene.terminate()
    let log = await scene.log
    #expect(end == 0, "\(log.suffix(1000))")
    #expect(await scene.children() == [])
    print("\(await scene.jobs) jobs; a child was seen for \(await scene.longestSurvival) ms at most")
    await loop.stop()
  }
}
