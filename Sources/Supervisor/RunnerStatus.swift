/// What a runner does at present.
public enum RunnerState: String, Sendable, CaseIterable {
  case running
  /// Takes no more jobs and waits for its running ones to end.
  case stopping
  case stopped
  /// Its owner cannot be reached.
  case unavailable
}

/// One runner at one instant. The counts of ended jobs are since its node started.
public struct RunnerStatus: Hashable, Sendable {
  public let name: RunnerName
  public let queue: QueueName
  public let node: NodeName
  public let state: RunnerState
  /// Grows each time the runner changes owner.
  public let epoch: UInt64
  public let concurrency: Int
  /// Jobs waiting in its queue, for all runners of that queue together.
  public let queued: Int
  public let running: Int
  public let completed: Int
  public let failed: Int
  public let timeout: Int
}
