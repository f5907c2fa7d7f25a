import EventLoop
import Logging

/// What all runners of a node share.
public struct JobSettings: Sendable {
  public var node: NodeName
  /// Identity of the data directory; every child carries it (`Leftovers`).
  public var instance: String
  /// Bytes kept of each of a job's two output streams.
  public var maxOutputBytes: Int
  /// Between SIGTERM and SIGKILL.
  public var killGrace: Duration
  /// What children inherit of the node's environment: `PATH`, `HOME`, `LANG`, `TZ`.
  public var baseEnvironment: [VariableName: String]

  public init(
    node: NodeName, instance: String, maxOutputBytes: Int = 1 << 20, killGrace: Duration = .seconds(5),
    baseEnvironment: [VariableName: String] = ["PATH": "/usr/local/bin:/usr/bin:/bin"]
  ) {
    self.node = node
    self.instance = instance
    self.maxOutputBytes = maxOutputBytes
    self.killGrace = killGrace
    self.baseEnvironment = baseEnvironment
  }
}

/// The parts that a runner works with, put together once by the composition root.
public struct RunnerContext: Sendable {
  public let loop: EventLoop
  public let store: any JobStore
  public let executors: Executors
  public let settings: JobSettings
  public let processes: ProcessGuard
  let launcher: Launcher
  let groups: ControlGroups?
  let workspaces: Workspaces
  public let logger: Logger
  /// The store, if all nodes of a cluster share it.
  let shared: (any SharedJobStore)?
  /// The store, if it is this node's alone.
  let embedded: (any EmbeddedJobStore)?
  let held: HeldJobs
  let gate: StartGate

  /// - Parameter groups: for the jobs; `nil` where the node may not make any.
  public init(
    loop: EventLoop, store: any JobStore, executors: Executors, settings: JobSettings, processes: ProcessGuard,
    launcher: Launcher, groups: ControlGroups? = nil, workspaces: Workspaces, logger: Logger
  ) {
    self.loop = loop
    self.store = store
    self.executors = executors
    self.settings = settings
    self.processes = processes
    self.launcher = launcher
    self.groups = groups
    self.workspaces = workspaces
    self.logger = logger
    shared = store as? any SharedJobStore
    embedded = store as? any EmbeddedJobStore
    held = HeldJobs(loop: loop)
    gate = StartGate(loop: loop, logger: logger)
  }
}
