import Cluster

// The domain's errors keep their type on their way through a peer link: a number for the case, then what it holds.

extension SupervisorError: WireError {
  public func encode(into writer: inout WireWriter) {
    func begin(_ number: UInt8) { writer.addInteger(number) }
    switch self {
    case .runnerNotFound(let name):
      begin(1)
      writer.add(name)
    case .queueConflict(let name, let queue):
      begin(2)
      writer.add(name)
      writer.add(queue)
    case .runnerState(let name, let state, let reason):
      begin(3)
      writer.add(name)
      writer.add(state)
      writer.add(reason)
    case .executorNotAllowed(let executor, let runner, let allowed):
      begin(4)
      writer.add(executor)
      writer.add(runner)
      writer.add(allowed)
    case .invalidJob(let field, let reason):
      begin(5)
      writer.add(field)
      writer.add(reason)
    case .draining: begin(6)
    case .joining: begin(7)
    case .ownerUnreachable(let nodes, let reason):
      begin(8)
      writer.add(nodes)
      writer.add(reason)
    // Older members know no other form of it. Whoever asked this node asks for a node of its own.
    case .callLost(let node, let reason):
      begin(8)
      writer.add([node])
      writer.add(reason)
    case .moving(let id, let node):
      begin(9)
      writer.add(id)
      writer.add(node)
    case .nodeUnavailable(let node, let reason):
      begin(10)
      writer.add(node)
      writer.add(reason)
    case .nodeNotReached(let node, let reason):
      begin(12)
      writer.add(node)
      writer.add(reason)
    case .outOfScope(let id):
      begin(13)
      writer.add(id)
    case .store(let error):
      begin(11)
      writer.add(error)
    }
  }

  public init(from reader: inout WireReader) throws(MalformedWire) {
    switch try reader.integer(UInt8.self) {
    case 1: self = .runnerNotFound(try reader.value())
    case 2: self = .queueConflict(try reader.value(), try reader.value())
    case 3: self = .runnerState(try reader.value(), try reader.value(), try reader.value())
    case 4: self = .executorNotAllowed(try reader.value(), try reader.value(), allowed: try reader.value())
    case 5: self = .invalidJob(field: try reader.value(), reason: try reader.value())
    case 6: self = .draining
    case 7: self = .joining
    case 8: self = .ownerUnreachable(try reader.value(), try reader.value())
    case 9: self = .moving(try reader.value(), to: try reader.value())
    case 10: self = .nodeUnavailable(try reader.value(), try reader.value())
    case 11: self = .store(try reader.value())
    case 13: self = .outOfScope(try reader.value())
    case 12: self = .nodeNotReached(try reader.value(), try reader.value())
    default: throw MalformedWire("an unknown error")
    }
  }
}

extension JobStoreError: WireValue {
  public func encode(into writer: inout WireWriter) {
    func begin(_ number: UInt8) { writer.addInteger(number) }
    switch self {
    case .notFound(let id):
      begin(1)
      writer.add(id)
    case .conflict(let id):
      begin(2)
      writer.add(id)
    case .wrongState(let id, let status):
      begin(3)
      writer.add(id)
      writer.add(status)
    case .unavailable(let reason, let milliseconds):
      begin(4)
      writer.add(reason)
      writer.add(milliseconds)
    case .invalidCursor(let cursor):
      begin(5)
      writer.add(cursor)
    case .cancelled: begin(6)
    case .fenced(let id):
      begin(7)
      writer.add(id)
    }
  }

  public init(from reader: inout WireReader) throws(MalformedWire) {
    switch try reader.integer(UInt8.self) {
    case 1: self = .notFound(try reader.value())
    case 2: self = .conflict(try reader.value())
    case 3: self = .wrongState(try reader.value(), try reader.value())
    case 4: self = .unavailable(try reader.value(), retryAfterMilliseconds: try reader.value())
    case 5: self = .invalidCursor(try reader.value())
    case 6: self = .cancelled
    case 7: self = .fenced(try reader.value())
    default: throw MalformedWire("an unknown error of the store")
    }
  }
}
