import Foundation
import JSONRPC
import SupervisorClient
import Testing

/// Clients that send jobs to whichever node is there, while nodes and networks fail, and what they were told.
actor ChaosClients {
  private let scene: ClusterScene
  private let runners: [String]
  private var told: [String: JSON] = [:]
  private var asked: Set<String> = []
  private var refusals = 0
  private var isStopped = false
  private var lastNumber = 0

  init(_ scene: ClusterScene, runners: [String]) {
    self.scene = scene
    self.runners = runners
  }

  var answered: Int { told.count }

  func stop() { isStopped = true }

  /// Runs one job after another at random nodes until `stop`.
  func work() async {
    while !isStopped {
      guard let node = await scene.running.randomElement() else { continue }
      lastNumber += 1
      let id = "job-\(lastNumber)"
      asked.insert(id)
      do throws(ClientError) {
        let answer = try await scene.run(
          id, on: runners.randomElement()!, "echo $HERO_JOB_ID >>$RUNS; echo done", at: node)
        told[id] = answer
      } catch {
        // Whether it was carried out is not known; it is not asked for again.
        refusals += 1
        try? await scene.loop.sleep(for: .milliseconds(20))
      }
    }
  }

  /// After everything has healed: what was told is true, everything that was begun has ended, and nothing ran more often
  /// than its attempts say.
  func check(_ names: [String]) async throws {
    let scene = self.scene
    try await scene.eventually("every job has ended", within: 60) {
      for status in ["queued", "running"] {
        let page = try await scene.call(names[0], "jobs.query", ["params": ["status": .string(status), "limit": 1]])
        guard page["jobs"]?.arrayValue?.isEmpty == true else { return false }
      }
      return true
    }
    var found: [String: JSON] = [:]
    var cursor: JSON?
    repeat {
      var query: JSONObject = ["limit": 500]
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
    print("\(told.count) jobs answered, \(refusals) not, \(found.count) recorded, \(runs.values.reduce(0, +)) runs")
  }
}

@Suite("A cluster under clients", .serialized, .timeLimit(.minutes(10)))
struct ClusterChaosTests {
  private let names = ["n1", "n2", "n3", "n4", "n5"]

  /// Runs a script of disturbances while clients send jobs.
  private func whileWorking(
    network: TestNetwork? = nil, _ script: @escaping @Sendable (ClusterScene) async throws -> Void
  ) async throws {
    try await ClusterScene.run(network: network) { scene async throws in
      try await scene.start(names)
      let runners = names.map { "runner-\($0)" }
      for (runner, name) in zip(runners, names) { try await scene.register(runner, at: name) }
      let clients = ChaosClients(scene, runners: runners)
      try await withThrowingDiscardingTaskGroup { group in
        for _ in 0..<4 { group.addTask { await clients.work() } }
        group.addTask {
          do { try await script(scene) } catch {
            await clients.stop()
            throw error
          }
          await clients.stop()
        }
      }
      let all = Dictionary(uniqueKeysWithValues: names.map { ($0, "alive") })
      for name in names { try await scene.sees(name, all, within: 60) }
      try await scene.agree(names, within: 60)
      try await clients.check(names)
      #expect(await clients.answered > 50)
    }
  }

  @Test("loses and repeats nothing while nodes are killed, stopped, paused and started again")
  func nodes() async throws {
    try await whileWorking { scene async throws in
      var down: [String] = []
      for round in 0..<30 {
        try await scene.loop.sleep(for: .milliseconds(Int64.random(in: 50...600)))
        if down.count == 2 || (round > 20 && !down.isEmpty) {
          try await scene.start(down.removeFirst(), atNewPort: Bool.random())
          continue
        }
        let name = await scene.running.randomElement()!
        switch Int.random(in: 0..<4) {
        case 0...1:
          await scene.kill(name)
          down.append(name)
        case 2:
          #expect(await scene.terminate(name) == 0)
          down.append(name)
        default:
          await scene.pause(name)
          try await scene.loop.sleep(for: .milliseconds(Int64.random(in: 100...3000)))
          await scene.resume(name)
        }
      }
      for name in down { try await scene.start(name) }
    }
  }

  @Test(
    "loses and repeats nothing while the network splits, is deaf in one direction, and loses every fifth packet",
    .enabled(if: TestNetwork.isPermitted, "network namespaces need root, ip(8) and nft(8)"))
  func network() async throws {
    let network = TestNetwork(names)
    try await whileWorking(network: network) { scene async throws in
      try await scene.loop.sleep(for: .seconds(1))
      network.partition(["n1", "n2"], ["n3", "n4", "n5"])
      try await scene.sees("n1", ["n3": "failed", "n4": "failed", "n5": "failed"], within: 30)
      try await scene.sees("n5", ["n1": "failed", "n2": "failed"], within: 30)
      // Every runner has an owner on both sides.
      try await scene.agree(["n1", "n2"])
      try await scene.agree(["n3", "n4", "n5"])
      try await scene.loop.sleep(for: .seconds(1))
      network.heal()
      let all = Dictionary(uniqueKeysWithValues: names.map { ($0, "alive") })
      for name in names { try await scene.sees(name, all, within: 60) }

      network.cut(from: "n2", to: "n4")
      try await scene.loop.sleep(for: .seconds(5))
      // The others vouch for both.
      for name in ["n1", "n3", "n5"] { try await scene.sees(name, ["n2": "alive", "n4": "alive"]) }
      network.heal()

      network.lose(percent: 20)
      try await scene.loop.sleep(for: .seconds(10))
      for name in names {
        let log = await scene.log(name)
        print(name, log.split(separator: "\n").filter { $0.contains("member failed") }.count)
      }
      network.heal()
    }
  }

  @Test(
    "notices that a host is silent",
    .enabled(if: TestNetwork.isPermitted, "network namespaces need root, ip(8) and nft(8)"))
  func silentHost() async throws {
    let network = TestNetwork(names)
    try await ClusterScene.run(network: network) { scene async throws in
      try await scene.start(names)
      let others = ["n1", "n2", "n4", "n5"]
      network.partition(["n3"], others)
      let start = ContinuousClock.now
      for name in others { try await scene.sees(name, ["n3": "failed"], within: 30) }
      print("a silent host was failed everywhere after \(ContinuousClock.now - start)")
    }
  }
}
