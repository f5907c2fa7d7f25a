import Cluster
import ExactText

// Jobs as arguments and answers of distributed calls.

/// A name is text; whoever sends it checked it when it came in.
extension WireValue where Self: Name {
  public func encode(into writer: inout WireWriter) { writer.add(rawValue) }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    let text: String = try reader.value()
    do { self = try Self(text) } catch { throw MalformedWire("a name \(error.reason)") }
  }
}
extension JobID: WireValue {}
extension RunnerName: WireValue {}
extension QueueName: WireValue {}
extension ExecutorName: WireValue {}
extension NodeName: WireValue {}

/// An enumeration is its word.
extension WireValue where Self: CaseIterable & RawRepresentable<String> {
  public func encode(into writer: inout WireWriter) { writer.add(rawValue) }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    let word: String = try reader.value()
    guard let value = Self(exactly: word) else {
      throw MalformedWire("an unknown word \"\(word.shortened(toBytes: 64))\"")
    }
    self = value
  }
}
extension JobStatus: WireValue {}
extension RunnerState: WireValue {}

extension Timestamp: WireValue {
  public func encode(into writer: inout WireWriter) { writer.addInteger(milliseconds) }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self.init(milliseconds: try reader.integer())
  }
}

extension Job: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(id)
    writer.add(callerID)
    writer.add(contextID)
    writer.add(payload)
    writer.add(runner)
    writer.add(executor)
    writer.add(timeoutSeconds)
    writer.addInteger(UInt32(environment.count))
    for (name, value) in environment {
      writer.add(name.rawValue)
      writer.add(value)
    }
  }

  public init(from reader: inout WireReader) throws(MalformedWire) {
    let (id, callerID, contextID): (JobID, String, String) = (
      try reader.value(), try reader.value(), try reader.value()
    )
    let payload: String = try reader.value()
    let runner: RunnerName = try reader.value()
    let executor: ExecutorName = try reader.value()
    let timeoutSeconds: Double = try reader.value()
    var environment: [VariableName: String] = [:]
    for _ in 0..<(try reader.integer(UInt32.self)) {
      let name = VariableName(trusted: try reader.value())
      environment[name] = try reader.value(String.self)
    }
    self.init(
      id: id, callerID: callerID, contextID: contextID, payload: payload, runner: runner, executor: executor,
      timeoutSeconds: timeoutSeconds, environment: environment)
  }
}

extension JobResult: WireValue {
  public func encode(into writer: inout WireWriter) {
    switch self {
    case .success(let text):
      writer.add(true)
      writer.add(text)
    case .error(let text):
      writer.add(false)
      writer.add(text)
    }
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self = try reader.value(Bool.self) ? .success(try reader.value()) : .error(try reader.value())
  }
}

/// Without `process`, which means nothing to another node, and `position` (`OfferedJob`).
extension JobRecord: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(job)
    writer.add(status)
    writer.add(attempt)
    writer.add(createdAt)
    writer.add(updatedAt)
    writer.add(startedAt)
    writer.add(completedAt)
    writer.add(result)
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self.init(
      job: try reader.value(), status: try reader.value(), attempt: try reader.value(), createdAt: try reader.value(),
      updatedAt: try reader.value(Timestamp.self), startedAt: try reader.value(), completedAt: try reader.value(),
      result: try reader.value())
  }
}

extension JobSummary: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(id)
    writer.add(runner)
    writer.add(status)
    writer.add(createdAt)
    writer.add(startedAt)
    writer.add(completedAt)
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self.init(
      id: try reader.value(), runner: try reader.value(), status: try reader.value(), createdAt: try reader.value(),
      startedAt: try reader.value(), completedAt: try reader.value())
  }
}

extension LiveOutput: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(WireBytes(output.stdout))
    writer.add(WireBytes(output.stderr))
    writer.add(output.stdoutDropped)
    writer.add(output.stderrDropped)
    writer.add(attempt)
    writer.add(isFinal)
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    let (stdout, stderr): (WireBytes, WireBytes) = (try reader.value(), try reader.value())
    output = JobOutput(
      stdout: stdout.bytes, stderr: stderr.bytes, stdoutDropped: try reader.value(), stderrDropped: try reader.value())
    attempt = try reader.value()
    isFinal = try reader.value()
  }
}

extension JobQuery: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(runner)
    writer.add(runners.map { $0.sorted() })
    writer.add(status)
    writer.add(callerID)
    writer.add(contextID)
    writer.add(createdFrom)
    writer.add(createdBefore)
    writer.add(cursor)
    writer.add(limit)
    writer.add(maximumBytes)
    writer.addInteger(parts.rawValue)
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self.init()
    runner = try reader.value()
    runners = try reader.value([RunnerName]?.self).map { Set($0) }
    status = try reader.value()
    callerID = try reader.value()
    contextID = try reader.value()
    createdFrom = try reader.value()
    createdBefore = try reader.value()
    cursor = try reader.value()
    limit = try reader.value()
    maximumBytes = try reader.value()
    parts = JobParts(rawValue: try reader.integer())
    guard limit > 0, runners?.isEmpty != true else { throw MalformedWire("a page without a place, or of no runner") }
  }
}

extension JobPage: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(jobs)
    writer.add(positions)
    writer.add(isLast)
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self.init(jobs: try reader.value(), positions: try reader.value(), isLast: try reader.value())
    guard jobs.count == positions.count else { throw MalformedWire("a page without its positions") }
  }
}
