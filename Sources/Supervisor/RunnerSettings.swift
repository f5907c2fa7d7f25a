/// What becomes of a job that was running when its node died.
public enum NodeLossPolicy: String, Sendable, CaseIterable {
  /// It is queued again, up to `maxAttempts` starts in all.
  case requeue
  /// It fails.
  case fail
}

/// What a runner is told at registration or by the configuration.
public struct RunnerSettings: Hashable, Sendable {
  public let name: RunnerName
  public let queue: QueueName
  /// How many jobs at a time, at least 1.
  public var concurrency: Int
  /// The executors it may use; `nil` means all that the node knows.
  public var executors: Set<ExecutorName>?
  public var onNodeLoss: NodeLossPolicy
  /// How often a job may be started in all, at least 1.
  public var maxAttempts: Int
  /// Seconds for jobs whose `timeout` is 0; 0 means no limit.
  public var defaultTimeoutSeconds: Double

  public init(
    name: RunnerName, queue: QueueName, concurrency: Int = 1, executors: Set<ExecutorName>? = nil,
    onNodeLoss: NodeLossPolicy = .requeue, maxAttempts: Int = 3, defaultTimeoutSeconds: Double = 300
  ) {
    self.name = name
    self.queue = queue
    self.concurrency = concurrency
    self.executors = executors
    self.onNodeLoss = onNodeLoss
    self.maxAttempts = maxAttempts
    self.defaultTimeoutSeconds = defaultTimeoutSeconds
  }
}

/// A registration as the store keeps it, so that it outlives the process.
public struct RegisteredRunner: Hashable, Sendable {
  public let name: RunnerName
  public let queue: QueueName
  /// Stopped on purpose; a restart does not undo that.
  public var isStopped: Bool
  /// Grows with each change of owner.
  public var epoch: UInt64
  /// The node to which this one lost the runner, as long as jobs of it remain here; `nil` for a runner of this node.
  public var newOwner: NodeName?

  public init(
    name: RunnerName, queue: QueueName, isStopped: Bool = false, epoch: UInt64 = 1, newOwner: NodeName? = nil
  ) {
    self.name = name
    self.queue = queue
    self.isStopped = isStopped
    self.epoch = epoch
    self.newOwner = newOwner
  }
}
