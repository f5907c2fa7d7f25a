import EventLoop
import ExactText
import Foundation
import Gossip
import JSONRPC
import SupervisorClient
import Testing

/// Nodes that are gone for good, and members that lie, seen by real nodes.
@Suite("Forgotten nodes and lying members", .timeLimit(.minutes(10)))
struct ForgetClusterTests {
  /// The error of a call; `nil` when there is none.
  private func failure(
    _ method: String, _ params: JSON, at node: String, in scene: ClusterScene
  ) async throws -> (code: Int, message: String)? {
    do {
      _ = try await scene.call(node, method, params)
      return nil
    } catch ClientError.rpc(let code, let message, _) {
      return (code, message)
    }
  }

  private func forget(_ node: String, at other: String, in scene: ClusterScene) async throws -> Int {
    do {
      _ = try await scene.admin("cluster.forget", ["node": .string(node)], at: other)
      return 0
    } catch ClientError.rpc(let code, _, _) {
      return code
    }
  }

  private func members(_ node: String, in scene: ClusterScene) async throws -> [String] {
    try await scene.call(node, "cluster.members").arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
  }

  @Test("a node that failed is forgotten by all, unknown jobs are unknown again, and it may come back")
  func forgetting() async throws {
    try await ClusterScene.run { scene in
      try await scene.start(["n1", "n2", "n3"])
      try await scene.register("r", at: "n3")
      #expect(try await scene.run("j1", on: "r", "echo hi", at: "n3") == ["success": "hi\n"])
      #expect(try await forget("n3", at: "n1", in: scene) == -32003, "it lives")
      #expect(try await forget("n1", at: "n1", in: scene) == -32003, "it is the node itself")
      #expect(try await forget("nobody", at: "n1", in: scene) == -32002)
      await scene.kill("n3")
      for name in ["n1", "n2"] { try await scene.sees(name, ["n3": "failed"]) }
      // What only n3 may know cannot be answered …
      let before = try await failure("job.status", ["nowhere"], at: "n2", in: scene)
      #expect(before?.code == -32005 && before?.message.contains("n3") == true)
      #expect(try await forget("n3", at: "n1", in: scene) == 0)
      // … until nothing is expected of it any more; at the node that was asked at once.
      #expect(try await members("n1", in: scene) == ["n1", "n2"])
      #expect(try await failure("job.status", ["nowhere"], at: "n1", in: scene)?.code == -32002)
      try await scene.eventually("n2 has forgotten it") {
        let names = try await members("n2", in: scene)
        let error = try await failure("job.status", ["nowhere"], at: "n2", in: scene)
        return names == ["n1", "n2"] && error?.code == -32002
      }
      #expect(try await failure("job.status", ["j1"], at: "n1", in: scene)?.code == -32002)
      #expect(try await scene.unreachable("n1", "jobs.query", ["params": [:]]) == [])
      #expect(try await forget("n3", at: "n2", in: scene) == -32002)
      try await scene.agree(["n1", "n2"])
      #expect(await scene.log("n2").contains("member forgotten"))
      // A restart forgets it no less.
      await scene.kill("n2")
      try await scene.start("n2")
      try await scene.sees("n2", ["n1": "alive"])
      #expect(try await members("n2", in: scene) == ["n1", "n2"])
      // The machine was found after all.
      try await scene.start("n3")
      for name in ["n1", "n2"] { try await scene.sees(name, ["n3": "alive"]) }
      try await scene.eventually("its job is known") {
        try await failure("job.status", ["j1"], at: "n1", in: scene) == nil
      }
    }
  }

  @Test("a thousand lies of somebody with the cluster's key change nothing, and what they could is undone by itself")
  func poison() async throws {
    try await ClusterScene.run { scene in
      let names = ["n1", "n2", "n3"]
      try await scene.start(names)
      for name in names { try await scene.register("r-\(name)", at: name) }
      let owners = try await scene.owners("n1")
      let ports = await names.asyncMap { name in
        await scene.log(name).firstMatch(of: /cluster port open.* listen=([0-9.:]+)/).map { String($0.1) } ?? ""
      }
      try await lie(to: ports, owners: Array(owners.keys), members: zip(names, ports).map { ($0, $1) }, in: scene)
      // What was refused has changed nothing: nobody was declared dead for longer than a moment, and owners are the same.
      for name in names { try await scene.sees(name, ["n1": "alive", "n2": "alive", "n3": "alive"]) }
      try await scene.agree(names)
      #expect(try await scene.owners("n2") == owners)
      for (number, name) in names.enumerated() {
        #expect(
          try await scene.run("after-\(number)", on: "r-\(name)", "echo \(number)", at: "n1") == [
            "success": .string("\(number)\n")
          ])
        let log = await scene.log(name)
        let lines = log.matches(of: /a statement was refused: its counter is higher than time allows/).count
        #expect((1...60).contains(lines), "\(name): \(lines) lines")
      }
      // The highest epoch that is let in, for an owner that is not there: the nodes take the runner themselves.
      let bound = GossipNode.date + 100 * 365 * 86_400_000 - 1000
      let claim = RunnerClaim(
        runner: "ghostly", queue: "ghostly", owner: MemberName("ghost"), epoch: bound, revision: bound, state: .running)
      try await send([Packet(claims: [claim])], to: ports, in: scene)
      try await scene.eventually("the runner has an owner") {
        let owner = try await scene.owners("n1")["ghostly"]
        return owner.map(names.contains) ?? false
      }
      try await scene.agree(names)
      #expect(try await scene.run("g", on: "ghostly", "echo here", at: "n2") == ["success": "here\n"])
    }
  }

  /// A thousand statements about members, runners and records, each with a counter that is higher than it can be.
  private func lie(
    to ports: [String], owners: [String], members: [(name: String, address: String)], in scene: ClusterScene
  ) async throws {
    var packets: [Packet] = []
    let highest = UInt64.max / 2
    for number in 0..<1000 {
      let (member, runner) = (members[number % members.count], owners[number % owners.count])
      let counter = highest - UInt64(number % 7)
      packets.append(
        Packet(
          news: [
            News(
              name: MemberName(member.name), state: MemberState.allCases[number % 4], incarnation: Incarnation(counter),
              profile: MemberProfile(address: MemberAddress(member.address)), source: MemberName("liar"))
          ],
          claims: [
            RunnerClaim(
              runner: runner, queue: runner, owner: MemberName(number.isMultiple(of: 2) ? "ghost" : member.name),
              epoch: number.isMultiple(of: 3) ? 1 : counter, revision: counter,
              state: RunnerClaimState.allCases[number % 3])
          ],
          records: [
            Record(
              kind: RecordKind(rawValue: UInt8(number % 4)), name: ExactText(member.name), version: counter,
              author: MemberName("liar"), isRemoved: number.isMultiple(of: 2), body: [])
          ]))
    }
    try await send(packets, to: ports, in: scene)
  }

  private func send(_ packets: [Packet], to ports: [String], in scene: ClusterScene) async throws {
    let keyring = try Keyring(keys: [[UInt8](repeating: 0, count: 32)], cluster: "test")
    let loop = scene.loop
    let targets = try ports.map { try SocketAddress(parsing: $0) }
    for start in stride(from: 0, to: packets.count, by: 50) {
      let datagrams = packets[start..<min(start + 50, packets.count)].flatMap { packet in
        targets.map { ($0, keyring.seal(packet.encoded())) }
      }
      try await Self.send(datagrams, on: loop)
      // Sockets' buffers are not for a thousand at a time.
      try await loop.sleep(for: .milliseconds(100))
    }
  }

  private static func send(_ datagrams: [(SocketAddress, [UInt8])], on loop: EventLoop) async throws {
    let error: (any Error)? = await withCheckedContinuation { done in
      loop.execute {
        do {
          let socket = try UDPSocket.bind(to: try SocketAddress(host: "127.0.0.1", port: 0), on: loop) { _ in }
          for (target, bytes) in datagrams { try socket.send(bytes, to: target) }
          socket.close()
          done.resume(returning: nil)
        } catch {
          done.resume(returning: error)
        }
      }
    }
    if let error { throw error }
  }
}

extension Sequence {
  fileprivate func asyncMap<Value>(_ body: (Element) async -> Value) async -> [Value] {
    var values: [Value] = []
    for element in self { values.append(await body(element)) }
    return values
  }
}
