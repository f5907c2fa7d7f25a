import EventLoop
import ExactText
import Foundation
import Gossip
import Logging
import Synchronization
import Testing

@testable import Cluster

/// Records on the disk of a node, and on their way to its peers.
@Suite(.timeLimit(.minutes(5)))
struct RecordTests {
  private static let kind = RecordKind(rawValue: 200)
  private static func subject(_ name: String) -> Record.Subject {
    Record.Subject(kind: kind, name: ExactText(name))
  }

  private struct Refused: Error, Hashable {}

  private func keeper(
    _ directory: String, _ name: String = "a", on loop: EventLoop, _ seen: Seen = Seen()
  ) throws -> RecordKeeper {
    try RecordKeeper(
      path: "\(directory)/\(name).records", author: MemberName(name), rules: RecordRules(), on: loop,
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, onChange: { seen.add($0) })
  }

  private final class Seen: Sendable {
    private let records = Mutex<[Record]>([])
    func add(_ record: Record) { records.withLock { $0.append(record) } }
    var all: [Record] { records.withLock { $0 } }
  }

  private func withLoop(_ body: (EventLoop) async throws -> Void) async throws {
    let loop = try EventLoop()
    loop.start()
    let result: Result<Void, any Error>
    do { result = .success(try await body(loop)) } catch { result = .failure(error) }
    await loop.stop()
    try result.get()
  }

  private func set(_ name: String, _ body: [UInt8], at keeper: RecordKeeper) async throws {
    _ = try await keeper.change(Self.subject(name)) { (_, _) throws(Refused) in .state(body: body) }.get()
  }

  @Test func `what was changed is on the disk when the change returns`() async throws {
    try await withDirectory { directory in
      try await withLoop { loop in
        let keeper = try keeper(directory, on: loop)
        for number in UInt8(0)..<20 {
          try await set("r\(number % 3)", [number], at: keeper)
          // As a node finds it that is started after a kill -9 at this instant.
          let seen = Seen()
          let next = try self.keeper(directory, on: loop, seen)
          #expect(await next.records == keeper.records)
          #expect(seen.all == (await keeper.records))
        }
        #expect(await keeper.records.map(\.body) == [[18], [19], [17]])
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["a.records"])
        let mode = try FileManager.default.attributesOfItem(atPath: "\(directory)/a.records")[.posixPermissions]
        #expect(mode as? Int == 0o600)
      }
    }
  }

  @Test func `many changes at once are all on the disk, and each wins over the one before`() async throws {
    try await withDirectory { directory in
      try await withLoop { loop in
        let keeper = try keeper(directory, on: loop)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in UInt8(0)..<100 { group.addTask { try await set("r\(number % 10)", [number], at: keeper) } }
          try await group.waitForAll()
        }
        #expect(await keeper.records.count == 10)
        #expect(try await self.keeper(directory, on: loop).records == keeper.records)
      }
    }
  }

  @Test func `a change that is refused changes nothing, nor does one that is none`() async throws {
    try await withDirectory { directory in
      try await withLoop { loop in
        let seen = Seen()
        let keeper = try keeper(directory, on: loop, seen)
        try await set("r", [1], at: keeper)
        let refused = try await keeper.change(Self.subject("r")) { (known, _) throws(Refused) in
          if known != nil { throw Refused() }
          return .state(body: [])
        }
        #expect(refused == .failure(Refused()))
        let none = try await keeper.change(Self.subject("s")) { (_, _) throws(Refused) in nil }
        #expect(none == .success(nil))
        #expect(seen.all.map(\.body) == [[1]])
        #expect(await keeper.records.map(\.body) == [[1]])
      }
    }
  }

  @Test func `what cannot be written is taken back, but a removal is in force`() async throws {
    try await withDirectory { directory in
      try await withLoop { loop in
        let place = "\(directory)/place"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        let keeper = try keeper(place, on: loop)
        try await set("r", [1], at: keeper)
        try FileManager.default.moveItem(atPath: place, toPath: "\(directory)/away")
        await #expect(throws: RecordsUnwritable.self) { try await set("s", [2], at: keeper) }
        await #expect(throws: RecordsUnwritable.self) {
          _ = try await keeper.change(Self.subject("r")) { (_, _) throws(Refused) in .remove(body: [1]) }
        }
        #expect(await keeper.records.allSatisfy(\.isRemoved))
        // To ask for what is so already is answered when that is on the disk, and not before.
        await #expect(throws: RecordsUnwritable.self) {
          _ = try await keeper.change(Self.subject("r")) { (_, _) throws(Refused) in nil }
        }
        // The disk is there again: what is in force gets there.
        try FileManager.default.moveItem(atPath: "\(directory)/away", toPath: place)
        try await eventually { try await self.keeper(place, on: loop).records == keeper.records }
        await keeper.close()
      }
    }
  }

  @Test func `a change for which there is no room is an error`() async throws {
    try await withDirectory { directory in
      try await withLoop { loop in
        let full = (0..<RecordMap.maximumOfUnknownKinds).map { number in
          Record(kind: Self.kind, name: ExactText("x\(number)"), version: 1, author: MemberName("b"), body: [])
        }
        try RecordFile(path: "\(directory)/a.records").write(full)
        let keeper = try keeper(directory, on: loop)
        await #expect(throws: RecordsUnwritable.self) { try await set("r", [1], at: keeper) }
        try await set("x7", [1], at: keeper)
        #expect(await keeper.records.count == full.count)
      }
    }
  }

  @Test func `a damaged file is an error, wherever it is damaged`() async throws {
    try await withDirectory { directory in
      try await withLoop { loop in
        let keeper = try keeper(directory, on: loop)
        for name in ["r", "s"] { try await set(name, [1, 2, 3], at: keeper) }
        let path = "\(directory)/a.records"
        let whole = try Data(contentsOf: URL(filePath: path))
        for place in whole.indices {
          var bytes = whole
          bytes[place] ^= 0x10
          try bytes.write(to: URL(filePath: path))
          #expect(throws: RecordsUnreadable.self) { try self.keeper(directory, on: loop) }
        }
        for count in whole.indices {
          try whole.prefix(count).write(to: URL(filePath: path))
          #expect(throws: RecordsUnreadable.self) { try self.keeper(directory, on: loop) }
        }
        try whole.write(to: URL(filePath: path))
        #expect(try await self.keeper(directory, on: loop).records == keeper.records)
      }
    }
  }

  // MARK: In a cluster

  @Test func `what is changed at a node is known to linked peers before that returns, and soon on their disks`()
    async throws
  {
    try await withDirectory { directory in
      var nodes: [TestNode] = []
      var keepers: [RecordKeeper] = []
      for name in ["a", "b", "c"] {
        let node = try await TestNode(
          name, join: nodes.prefix(1).map(\.address), directory: directory, records: "\(directory)/\(name).records")
        nodes.append(node)
        keepers.append(node.records!)
        await node.cluster.join()
      }
      for node in nodes { try await eventually { await node.cluster.linked.count == 2 } }
      for number in UInt8(0)..<20 {
        try await set("r", [number], at: keepers[Int(number) % 3])
        for keeper in keepers { #expect(await keeper.records.map(\.body) == [[number]]) }
      }
      let path = "\(directory)/b.records"
      try await eventually { try RecordFile(path: path).read().map(\.body) == [[19]] }
      // One that was killed knows it again, also alone.
      await nodes[1].crash()
      try await set("r", [20], at: keepers[0])
      let again = try await TestNode("b", directory: directory, records: path)
      #expect(await again.cluster.allRecords.map(\.body) == [[19]])
      await again.stop()
      let back = try await TestNode("b", join: [nodes[0].address], directory: directory, records: path)
      await back.cluster.join()
      try await eventually { await back.records!.records.map(\.body) == [[20]] }
      for node in nodes + [back] { await node.stop() }
    }
  }
}
