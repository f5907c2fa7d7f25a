import ExactText

/// Where a job is in its life: `created → queued → running → completed | failed | timeout`.
public enum JobStatus: String, Sendable, CaseIterable {
  case created, queued, running, completed, failed, timeout

  /// Whether the job has its final result.
  public var isFinal: Bool { self == .completed || self == .failed || self == .timeout }
}

/// How a job ended: the contract's `{"success": …}` or `{"error": …}`.
public enum JobResult: Hashable, Sendable {
  /// What the job wrote to standard output.
  case success(String)
  /// Why it failed, in words, with the end of standard error.
  case error(String)

  public static func == (a: JobResult, b: JobResult) -> Bool {
    switch (a, b) {
    case (.success(let a), .success(let b)), (.error(let a), .error(let b)): a.isExactly(b)
    default: false
    }
  }

  public func hash(into hasher: inout Hasher) {
    switch self {
    case .success(let text), .error(let text): text.hashExactly(into: &hasher)
    }
  }
}

/// Which process runs a job, precisely enough to recognise it after this node was killed (proc(5)).
public struct ProcessIdentity: Hashable, Sendable {
  /// The process, also the number of its session and process group.
  public let pid: Int32
  /// Clock ticks since boot at which it started: field 22 of `/proc/PID/stat`.
  public let startTicks: UInt64
  /// `/proc/sys/kernel/random/boot_id`
  public let bootID: String

  public init(pid: Int32, startTicks: UInt64, bootID: String) {
    self.pid = pid
    self.startTicks = startTicks
    self.bootID = bootID
  }
}

/// What a job wrote, as bytes. `Dropped` counts the bytes beyond `max_output_bytes` that were not kept.
public struct JobOutput: Hashable, Sendable {
  public var stdout: [UInt8]
  public var stderr: [UInt8]
  public var stdoutDropped: Int
  public var stderrDropped: Int

  public init(stdout: [UInt8] = [], stderr: [UInt8] = [], stdoutDropped: Int = 0, stderrDropped: Int = 0) {
    self.stdout = stdout
    self.stderr = stderr
    self.stdoutDropped = stdoutDropped
    self.stderrDropped = stderrDropped
  }
}

/// A job and its state, as the store keeps it.
public struct JobRecord: Hashable, Sendable {
  public let job: Job
  public var status: JobStatus
  /// How often it was started: 0 until its first start, 2 when it was queued again once and started again. A start of which
  /// nothing has run is taken back.
  public var attempt: Int
  public let createdAt: Timestamp
  public var updatedAt: Timestamp
  public var startedAt: Timestamp?
  public var completedAt: Timestamp?
  /// Present exactly when `status.isFinal`, but in a list that does not read it (`JobQuery.parts`).
  public var result: JobResult?
  /// Present while running, once the child exists.
  public var process: ProcessIdentity?
  /// Its place among the jobs that wait, given by the store when it was queued first, and kept: what was queued later has
  /// a greater one. A record that is created as queued says where its owner's positions begin
  /// (`QueuePosition`).
  public var position: Int64?

  public init(
    job: Job, status: JobStatus = .created, attempt: Int = 0, createdAt: Timestamp, updatedAt: Timestamp? = nil,
    startedAt: Timestamp? = nil, completedAt: Timestamp? = nil, result: JobResult? = nil,
    process: ProcessIdentity? = nil, position: Int64? = nil
  ) {
    self.job = job
    self.status = status
    self.attempt = attempt
    self.createdAt = createdAt
    self.updatedAt = updatedAt ?? createdAt
    self.startedAt = startedAt
    self.completedAt = completedAt
    self.result = result
    self.process = process
    self.position = position
  }
}

extension JobRecord {
  /// About what it takes in memory, and on the wire.
  public var approximateBytes: Int {
    var bytes = 300 + job.payload.utf8.count + job.callerID.utf8.count + job.contextID.utf8.count
    for (name, value) in job.environment { bytes += name.rawValue.utf8.count + value.utf8.count }
    switch result {
    case .success(let text), .error(let text): return bytes + text.utf8.count
    case nil: return bytes
    }
  }
}
