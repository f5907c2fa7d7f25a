import ExactText

/// What a client asks to be run: the contract's `Job` schema without its two timestamps, which the node sets.
///
/// Two jobs with equal fields are the same job, so creating one again is harmless; the same id with other fields is
/// a conflict.
public struct Job: Hashable, Sendable {
  /// How many variables a new job may have.
  public static let maximumVariables = 1000

  public let id: JobID
  public let callerID: String
  public let contextID: String
  public let payload: String
  public let runner: RunnerName
  public let executor: ExecutorName
  /// Seconds, fractions allowed; 0 means the runner's default.
  public let timeoutSeconds: Double
  public let environment: [VariableName: String]

  public init(
    id: JobID, callerID: String, contextID: String, payload: String, runner: RunnerName, executor: ExecutorName,
    timeoutSeconds: Double = 0, environment: [VariableName: String] = [:]
  ) {
    self.id = id
    self.callerID = callerID
    self.contextID = contextID
    self.payload = payload
    self.runner = runner
    self.executor = executor
    self.timeoutSeconds = timeoutSeconds
    self.environment = environment
  }

  public static func == (a: Job, b: Job) -> Bool {
    a.id == b.id && a.runner == b.runner && a.executor == b.executor && a.timeoutSeconds == b.timeoutSeconds
      && a.callerID.isExactly(b.callerID) && a.contextID.isExactly(b.contextID) && a.payload.isExactly(b.payload)
      && a.environment.count == b.environment.count
      && a.environment.allSatisfy { name, value in b.environment[name]?.isExactly(value) ?? false }
  }

  /// By the id, which says nearly all.
  public func hash(into hasher: inout Hasher) { hasher.combine(id) }
}
