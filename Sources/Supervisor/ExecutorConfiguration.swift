/// How an executor's child receives the payload.
public enum PayloadPassing: String, Sendable, CaseIterable {
  /// On standard input.
  case stdin
  /// As a file whose path replaces `{payload_file}` in the command.
  case file
  /// As the text that replaces `{payload}` in the command.
  case argument
}

/// Limits of an executor's children (setrlimit(2)); `nil` leaves the node's own.
public struct ResourceLimits: Hashable, Sendable {
  /// Address space (`RLIMIT_AS`), bytes.
  public var memoryBytes: Int?
  /// CPU time (`RLIMIT_CPU`), seconds.
  public var cpuSeconds: Int?
  /// Open file descriptors (`RLIMIT_NOFILE`).
  public var openFiles: Int?
  /// Processes and threads of the user (`RLIMIT_NPROC`).
  public var processes: Int?
  /// How many processes and threads a job may have whose executor says nothing, where its control group bounds them; else
  /// how many all jobs of another user than the node's may have together.
  public static let defaultProcesses = 4096

  /// Bounds of the job's control group, for all its processes together.
  public var group: ControlGroups.Limits

  public init(
    memoryBytes: Int? = nil, cpuSeconds: Int? = nil, openFiles: Int? = nil, processes: Int? = nil,
    group: ControlGroups.Limits = ControlGroups.Limits()
  ) {
    self.group = group
    self.memoryBytes = memoryBytes
    self.cpuSeconds = cpuSeconds
    self.openFiles = openFiles
    self.processes = processes
  }
}

/// An executor that runs a process, as the configuration names it.
public struct ExecutorConfiguration: Hashable, Sendable {
  public let name: ExecutorName
  /// Program and arguments; `{payload_file}` and `{payload}` are replaced.
  public var command: [String]
  public var payload: PayloadPassing
  /// Put before the command, e.g. `["bwrap", …]`. Its program is looked up when the node starts, and runs with the job's
  /// rights, without the job's variables. It must pass descriptor 3 on.
  public var wrapper: [String]
  /// Set for every job of this executor; a job's own `env_vars` come later and win.
  public var environment: [VariableName: String]
  /// The user that the child runs as; `nil` is the node's own.
  public var user: String?
  public var limits: ResourceLimits
  /// Whether a program that the job runs may have more rights than the job, as setuid programs have; `nil` says yes only
  /// if the job runs as the node's own user.
  public var allowsNewPrivileges: Bool?
  /// The walls around its jobs; `nil` for none. Without a `user`, they then run as `nobody` on a node that is root.
  public var sandbox: SandboxSettings?

  public init(
    name: ExecutorName, command: [String], payload: PayloadPassing = .stdin, wrapper: [String] = [],
    environment: [VariableName: String] = [:], user: String? = nil, limits: ResourceLimits = ResourceLimits(),
    allowsNewPrivileges: Bool? = nil, sandbox: SandboxSettings? = nil
  ) {
    self.name = name
    self.command = command
    self.payload = payload
    self.wrapper = wrapper
    self.environment = environment
    self.user = user
    self.limits = limits
    self.allowsNewPrivileges = allowsNewPrivileges
    self.sandbox = sandbox
  }
}
