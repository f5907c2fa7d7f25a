import Logging

// One line of the log for each job that ends: what an operator reads when she asks what became of it, and why.

extension RunnerContext {
  /// Says that a job has ended. What the node did itself, in the call that asked for it (`echo`), is said at `debug`.
  /// - Parameters:
  ///   - record: as it was written.
  ///   - exitStatus: what its process passed to exit(3); `nil` when there was none or a signal ended it.
  ///   - reason: why it did not complete, in the node's words: never what the job wrote.
  func logEnd(of record: JobRecord, exitStatus: Int64? = nil, reason: String? = nil) {
    let isRoutine = record.status == .completed && exitStatus == nil
    logger.log(
      level: isRoutine ? .debug : .info, "job ended",
      metadata: Self.fields(of: record, exitStatus: exitStatus, reason: reason, node: settings.node))
  }

  private static func fields(
    of record: JobRecord, exitStatus: Int64?, reason: String?, node: NodeName
  ) -> Logger.Metadata {
    var fields: Logger.Metadata = [
      "job": "\(record.job.id)", "runner": "\(record.job.runner)", "outcome": "\(record.status.rawValue)",
      "attempt": .stringConvertible(record.attempt), "node": "\(node)",
    ]
    if let start = record.startedAt, let end = record.completedAt {
      let milliseconds = max(0, end.milliseconds - start.milliseconds)
      fields["seconds"] = .stringConvertible(Double(milliseconds) / 1000)
    }
    if let exitStatus { fields["exit_status"] = .stringConvertible(exitStatus) }
    if let reason { fields["reason"] = "\(reason)" }
    return fields
  }
}
