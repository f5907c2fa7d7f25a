import Foundation
import JSONRPC
import SupervisorClient
import Testing

/// Clients that send jobs to whichever node is there, while nodes and networks fail, and what they were told.
actor ChaosClients {
  private let scene: ClusterScene
  private let runners: [String]
  private let chaos = Chaos.current
  private var told: [String: JSON] = [:]
  private var refusals = 0
  private var isStopped = false

  init(_ scene: ClusterScene, runners: [String]) {
    self.scene = scene
    self.runners = runners
  }

  var answered: Int { told.count }

  func stop() { isStopped = true }

  /// Runs one job after another at random nodes until `stop`.
  func work(client: Int) async {
    var dice = chaos.generator("client \(client)")
    var number = 0
    while !isStopped {
      number += 1
      let id = "c\(client)-\(number)"
      let runner = runners.randomElement(using: &dice)!
      let payload = "echo $HERO_JOB_ID >>$RUNS; sleep 0.0\(Int.random(in: 0...3, using: &dice)); echo done"
      let choice = dice.next()
      let running = await scene.running
      guard !running.isEmpty else {
        try? await scene.loop.sleep(for: .milliseconds(20))
        continue
      }
      let node = running[Int(choice % UInt64(running.count))]
      chaos.note("\(id) is sent to \(runner) at \(node)")
      do throws(ClientError) {
        let answer = try await scene.run(id, on: runner, payload, at: node)
        told[id] = answer
        chaos.note("\(id) has the answer \(answer.text)")
      } catch {
        // Whether it was carried out is not known; it is not asked for again.
        refusals += 1
        chaos.note("\(id) has no answer: \(error)")
        try? await scene.loop.sleep(for: .milliseconds(20))
      }
    }
  }

  /// After everything has healed: what was told is true, everything that was begun has ended, and nothing ran more often
  /// than its attempts say.
  func check(_ names: [String]) async throws {
    let scene = self.scene
    try await scene.eventually("every job has ended") {
      for status in ["queued", "running"] {
        let page = try await scene.call(names[0], "jobs.query", ["params": ["status": .string(status), "limit": 1]])
        guard page["jobs"]?.arrayValue?.isEmpty == true else { return false }
      }
      return true
    }
    var found: [String: JSON] = [:]
    var cursor: JSON?
    repeat {
      var query: JSONObject = ["limit": 500, "view": "full"]
      query["cursor"] = cursor
      let page = try await scene.call(names[1], "jobs.query", ["params": .object(query)])
      for job in page["jobs"]?.arrayValue ?? [] {
        let id = job["id"]?.stringValue ?? ""
        if let other = found[id] { Issue.record("two final states: \(job.text) and \(other.text)") }
        found[id] = job
      }
      cursor = page["next"]
    } while cursor != .null
    let runs = scene.countRuns()
    for (id, answer) in told {
      guard let job = found[id] else {
        Issue.record("\(id) was answered and is lost")
        continue
      }
      if job["result"] != answer { Issue.record("\(id) had the answer \(answer.text): \(job.text)") }
    }
    for (id, count) in runs {
      let attempts = Int(found[id]?["attempt"]?.intValue ?? 0)
      if count > attempts { Issue.record("\(id) ran \(count) times: \(found[id]?.text ?? "-")") }
    }
    for (id, job) in found where job["status"] == "completed" && runs[id] == nil {
      Issue.record("\(id) did not run: \(job.text)")
    }
    chaos.note("end: \(scene.countRuns())")
    print("\(told.count) jobs answered, \(refusals) not, \(found.count) recorded, \(runs.values.reduce(0, +)) runs")
  }
}

// How long nodes are disturbed: HERO_CHAOS_SECONDS, 60 by itself.

@Suite("A cluster under clients", .serialized, .timeLimit(.minutes(20)))
struct ClusterChaosTests {
  private let names = ["n1", "n2", "n3", "n4", "n5"]

  /// Runs a script of disturbances while clients send jobs.
  private func whileWorking(
    network: TestNetwork? = nil, _ script: @escaping @Sendable (ClusterScene, Chaos) async throws -> Void
  ) async throws {
    let chaos = Chaos.current
    try await ClusterScene.run(network: network) { scene async throws in
      try await scene.start(names)
      let runners = names.map { "runner-\($0)" }
      for (runner, name) in zip(runners, names) { try await scene.register(runner, at: name) }
      let clients = ChaosClients(scene, runners: runners)
      try await withThrowingDiscardingTaskGroup { group in
        for client in 0..<4 { group.addTask { await clients.work(client: client) } }
        group.addTask {
          do { try await script(scene, chaos) } catch {
            await clients.stop()
            throw error
          }
          await clients.stop()
        }
      }
      chaos.note("all has healed")
      let all = Dictionary(uniqueKeysWithValues: names.map { ($0, "alive") })
      for name in names { try await scene.sees(name, all) }
      try await scene.agree(names)
      try await clients.check(names)
      #expect(await clients.answered > 50)
    }
  }

  @Test("loses and repeats nothing while nodes are killed, stopped, paused and started again", .chaos)
  func nodes() async throws {
    let seconds = ProcessInfo.processInfo.environment["HERO_CHAOS_SECONDS"].flatMap(Double.init) ?? 60
    try await whileWorking { scene, chaos async throws in
      var dice = chaos.generator("disturber")
      var down: [String] = []
      let end = ContinuousClock.now + .seconds(seconds)
      while ContinuousClock.now < end {
        try await scene.loop.sleep(for: .milliseconds(Int64.random(in: 50...600, using: &dice)))
        if down.count == 2 || (!down.isEmpty && Int.random(in: 0..<3, using: &dice) == 0) {
          let (name, atNewPort) = (down.removeFirst(), Bool.random(using: &dice))
          chaos.note("\(name) is started\(atNewPort ? " at a new port" : "")")
          try await scene.start(name, atNewPort: atNewPort)
          chaos.note("\(name) is ready")
          continue
        }
        let name = await scene.running.randomElement(using: &dice)!
        switch Int.random(in: 0..<4, using: &dice) {
        case 0...1:
          chaos.note("\(name) is killed")
          await scene.kill(name)
          down.append(name)
        case 2:
          chaos.note("\(name) is stopped")
          #expect(await scene.terminate(name) == 0)
          chaos.note("\(name) has stopped")
          down.append(name)
        default:
          let pause = Int64.random(in: 100...3000, using: &dice)
          chaos.note("\(name) is paused for \(pause) ms")
          await scene.pause(name)
          try await scene.loop.sleep(for: .milliseconds(pause))
          await scene.resume(name)
          chaos.note("\(name) goes on")
        }
      }
      for name in down { try await scene.start(name) }
    }
  }

  @Test(
    "loses and repeats nothing while the network splits, is deaf in one direction, and loses every fifth packet",
    .chaos, .enabled(if: TestNetwork.isPermitted, "network namespaces need root, ip(8) and nft(8)"))
  func network() async throws {
    let network = await TestNetwork.make(names)
    try await whileWorking(network: network) { scene, chaos async throws in
      try await scene.loop.sleep(for: .seconds(1))
      chaos.note("n1 and n2 are cut off")
      await network.aside { $0.partition(["n1", "n2"], ["n3", "n4", "n5"]) }
      try await scene.sees("n1", ["n3": "failed", "n4": "failed", "n5": "failed"])
      try await scene.sees("n5", ["n1": "failed", "n2": "failed"])
      // Every runner has an owner on both sides.
      try await scene.agree(["n1", "n2"])
      try await scene.agree(["n3", "n4", "n5"])
      try await scene.loop.sleep(for: .seconds(1))
      await network.aside { $0.heal() }
      chaos.note("the network is whole")
      let all = Dictionary(uniqueKeysWithValues: names.map { ($0, "alive") })
      for name in names { try await scene.sees(name, all) }

      chaos.note("n4 is deaf for n2")
      await network.aside { $0.cut(from: "n2", to: "n4") }
      try await scene.loop.sleep(for: .seconds(5))
      // The others vouch for both.
      for name in ["n1", "n3", "n5"] { try await scene.sees(name, ["n2": "alive", "n4": "alive"]) }
      await network.aside { $0.heal() }

      chaos.note("every fifth packet is lost")
      await network.aside { $0.lose(percent: 20) }
      try await scene.loop.sleep(for: .seconds(10))
      for name in names {
        let log = await scene.log(name)
        print(name, log.split(separator: "\n").filter { $0.contains("member failed") }.count)
      }
      await network.aside { $0.heal() }
    }
  }

  @Test(
    "notices that a host is silent",
    .enabled(if: TestNetwork.isPermitted, "network namespaces need root, ip(8) and nft(8)"))
  func silentHost() async throws {
    let network = await TestNetwork.make(names)
    try await ClusterScene.run(network: network) { scene async throws in
      try await scene.start(names)
      let others = ["n1", "n2", "n4", "n5"]
      await network.aside { $0.partition(["n3"], others) }
      let start = ContinuousClock.now
      for name in others { try await scene.sees(name, ["n3": "failed"]) }
      print("a silent host was failed everywhere after \(ContinuousClock.now - start)")
    }
  }
}
