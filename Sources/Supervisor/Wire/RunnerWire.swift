import Cluster

// Runners as arguments and answers of distributed calls.

extension RunnerStatus: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(name)
    writer.add(queue)
    writer.add(node)
    writer.add(state)
    writer.add(epoch)
    for count in [concurrency, queued, running, completed, failed, timeout] { writer.add(count) }
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self.init(
      name: try reader.value(), queue: try reader.value(), node: try reader.value(), state: try reader.value(),
      epoch: try reader.value(), concurrency: try reader.value(), queued: try reader.value(),
      running: try reader.value(), completed: try reader.value(), failed: try reader.value(),
      timeout: try reader.value())
  }
}

extension RegisteredRunner: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(name)
    writer.add(queue)
    writer.add(isStopped)
    writer.add(epoch)
    writer.add(newOwner)
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self.init(
      name: try reader.value(), queue: try reader.value(), isStopped: try reader.value(), epoch: try reader.value(),
      newOwner: try reader.value())
  }
}
