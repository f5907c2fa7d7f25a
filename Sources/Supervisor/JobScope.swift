import Cluster

/// Whose jobs a call may concern. It goes with the call to the node that carries it out: another job of the same id may be
/// found on the way, since ids are unique within a store only.
public struct JobScope: Hashable, Sendable, WireValue {
  /// `nil` for the jobs of all runners.
  private let runners: Set<RunnerName>?

  public static let all = JobScope(runners: nil)

  public init(runners: Set<RunnerName>?) { self.runners = runners }

  /// - Throws: `outOfScope`.
  func check(_ job: Job) throws(SupervisorError) {
    if let runners, !runners.contains(job.runner) { throw .outOfScope(job.id) }
  }

  public func encode(into writer: inout WireWriter) { writer.add(runners.map { $0.sorted() }) }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    runners = try reader.value([RunnerName]?.self).map { Set($0) }
  }
}
