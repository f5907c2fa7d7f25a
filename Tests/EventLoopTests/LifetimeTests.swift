import EventLoop
import Glibc
import Testing

// Every handle closes exactly once. Each scenario uses handles in a way of its own; afterwards libuv knows none of them,
// their memory is free (a reference too many would keep it, one too few would crash), and no descriptor is left.

@Suite("The life of handles", .serialized, .timeLimit(.minutes(5)))
struct LifetimeTests {
  @Test("after each scenario no handle is live and none is held", arguments: Scenario.all)
  func nothingLeft(scenario: Scenario) async throws {
    try await withLoop { loop in
      let handles = Handles()
      try await scenario.play(loop, handles)
      #expect(handles.count > 0)
      #expect(await eventually { loop.liveHandles.isEmpty && handles.alive.isEmpty })
      #expect(loop.liveHandles == [])
      #expect(handles.alive == [])
    }
  }

  @Test("closing twice, in one turn of the loop or later, is harmless for every kind", arguments: Kind.allCases)
  func doubleClose(kind: Kind) async throws {
    try await withLoop { loop in
      let handles = Handles()
      do {
        let handle = handles.add(try await kind.make(loop))
        #expect(!handle.isClosed)
        handle.close()
        handle.close()
        #expect(handle.isClosed)
        #expect(await eventually { loop.liveHandles.isEmpty })
        handle.close()
        #expect(handle.isClosed && loop.liveHandles.isEmpty)
      }
      #expect(await eventually { handles.alive.isEmpty })
    }
  }

  @Test("an open handle that nobody refers to stays open until it is closed")
  func unreferenced() async throws {
    try await withLoop { loop in
      let handles = Handles()
      var firings = 0
      do { handles.add(Timer(on: loop)).schedule(after: .milliseconds(5)) { firings += 1 } }
      #expect(handles.alive == ["Timer"])
      #expect(await eventually { firings == 1 })
      #expect(loop.liveHandles == ["timer"])
      handles.closeAll()
      #expect(await eventually { handles.alive.isEmpty && loop.liveHandles.isEmpty })
    }
  }

  @Test("no scenario leaves a descriptor")
  func descriptors() async throws {
    // In a process of its own, as other tests open descriptors too.
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      try await withLoop { loop in
        func playAll() async throws {
          for scenario in Scenario.all {
            let handles = Handles()
            try await scenario.play(loop, handles)
            let isEmpty = await eventually { loop.liveHandles.isEmpty && handles.alive.isEmpty }
            precondition(isEmpty, "\(scenario.name): \(loop.liveHandles), \(handles.alive)")
          }
        }
        try await playAll()
        let before = countEntries("/proc/self/fd")
        for _ in 0..<20 { try await playAll() }
        let after = countEntries("/proc/self/fd")
        // Swift may open some of its own meanwhile, when it first needs them: fewer than a leak in each round.
        precondition(before > 2 && after < before + 10, "\(before) descriptors became \(after)")
      }
    }
    #expect(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self) == "")
  }

  /// Every kind of handle, open.
  enum Kind: CaseIterable {
    case timer, listener, stream, udp, signal, process, pipe

    func make(_ loop: EventLoop) async throws -> LoopHandle {
      switch self {
      case .timer: return Timer(on: loop)
      case .listener: return try TCPListener.listen(on: loop, address: anyPort) { $0.close() }
      case .udp: return try UDPSocket.bind(to: anyPort, on: loop) { _ in }
      case .signal: return try SignalSource(SIGURG, on: loop) {}
      case .process: return try ChildProcess.spawn(.shell("exit 0"), on: loop)
      case .stream:
        let pair = try await Pair.make(on: loop)
        pair.listener.close()
        pair.server.close()
        return pair.client
      case .pipe:
        let child = try ChildProcess.spawn(.shell("exit 0", stdin: .pipe), on: loop)
        _ = await child.exit()
        child.close()
        return child.stdin!
      }
    }
  }
}

/// Handles that a test made, which it does not hold.
final class Handles {
  private struct Reference {
    weak var handle: LoopHandle?
  }
  private var references: [Reference] = []

  @discardableResult
  func add<Handle: LoopHandle>(_ handle: Handle) -> Handle {
    references.append(Reference(handle: handle))
    return handle
  }

  func add(_ pair: Pair) -> Pair {
    for handle in [pair.client, pair.server, pair.listener] { add(handle) }
    return pair
  }

  func add(_ child: ChildProcess) -> ChildProcess {
    for case let stream? in [child.stdin, child.stdout, child.stderr] { add(stream) }
    references.append(Reference(handle: child))
    return child
  }

  var count: Int { references.count }
  /// The types of those that are still in memory.
  var alive: [String] { references.compactMap { $0.handle.map { "\(type(of: $0))" } } }
  func closeAll() { for reference in references { reference.handle?.close() } }
}
