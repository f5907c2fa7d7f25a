/// A step in a job's life. `apply(to:)` is the only place that says which steps are legal; every store follows it.
public enum JobTransition: Hashable, Sendable {
  /// `created → queued`, at the end of what was queued in this generation of the queue's owners
  /// (`QueuePosition`).
  case enqueue(at: Timestamp, generation: UInt64 = 0)
  /// `queued → running`, one attempt more.
  case start(at: Timestamp)
  /// Still `running`; the child now exists.
  case spawned(ProcessIdentity, at: Timestamp)
  /// `running → queued`: its node died or gave it back.
  case requeue(at: Timestamp)
  /// `running → queued`: nothing of it has run, so that the start is no attempt.
  case putBack(at: Timestamp)
  /// Any unfinished state `→ completed | failed | timeout`. `status` is a final one.
  case finish(JobStatus, JobResult, JobOutput?, at: Timestamp)

  /// The record after this step.
  /// - Throws: `JobStoreError.wrongState` when the step is not legal from the record's status.
  public func apply(to record: JobRecord) throws(JobStoreError) -> JobRecord {
    var next = record
    switch self {
    case .enqueue(let at, _) where record.status == .created:
      next.status = .queued
      next.updatedAt = at
    case .start(let at) where record.status == .queued:
      next.status = .running
      next.attempt += 1
      next.startedAt = at
      next.updatedAt = at
    case .spawned(let process, let at) where record.status == .running:
      next.process = process
      next.updatedAt = at
    case .requeue(let at) where record.status == .running, .putBack(let at) where record.status == .running:
      next.status = .queued
      if case .putBack = self { next.attempt -= 1 }
      next.startedAt = nil
      next.process = nil
      next.updatedAt = at
    case .finish(let status, let result, _, let at) where !record.status.isFinal:
      precondition(status.isFinal, "a job finishes in a final state")
      next.status = status
      next.result = result
      next.completedAt = at
      next.process = nil
      next.updatedAt = at
    default:
      throw .wrongState(record.job.id, record.status)
    }
    return next
  }
}
