/// What is asked most often about a job: its state, without payload and result.
public struct JobSummary: Hashable, Sendable {
  public let id: JobID
  public let runner: RunnerName
  public let status: JobStatus
  public let createdAt: Timestamp
  public let startedAt: Timestamp?
  public let completedAt: Timestamp?

  public init(_ record: JobRecord) {
    id = record.job.id
    runner = record.job.runner
    status = record.status
    createdAt = record.createdAt
    startedAt = record.startedAt
    completedAt = record.completedAt
  }

  init(
    id: JobID, runner: RunnerName, status: JobStatus, createdAt: Timestamp, startedAt: Timestamp?,
    completedAt: Timestamp?
  ) {
    self.id = id
    self.runner = runner
    self.status = status
    self.createdAt = createdAt
    self.startedAt = startedAt
    self.completedAt = completedAt
  }
}

/// What a job has written so far.
public struct LiveOutput: Hashable, Sendable {
  public let output: JobOutput
  /// Which attempt wrote it: with a new one the output begins anew.
  public let attempt: Int
  /// Whether it may not write more.
  public let isFinal: Bool
}
