import Glibc

/// How one kind of payload is run.
public enum Executor: Sendable {
  /// In the node itself: the answer is the payload. For smoke tests and latency.
  case echo
  /// By a child process.
  case process(ProcessExecutor)
}

/// A configured executor whose user has been looked up.
public struct ProcessExecutor: Sendable {
  public let configuration: ExecutorConfiguration
  /// Numbers and home of the user that the child runs as; `nil` is the node's own.
  let account: Account?
  /// The configuration's, with the program's path.
  private let wrapper: [String]
  private let sandbox: Sandbox?

  struct Account: Sendable {
    let uid: uid_t
    let gid: gid_t
    let home: String
  }

  /// - Parameters:
  ///   - searchPath: where a wrapper's program is looked up: directories between colons.
  ///   - privatePaths: what no job in a sandbox may see.
  init(
    _ configuration: ExecutorConfiguration, searchPath: String, privatePaths: [String] = []
  ) throws(InvalidExecutor) {
    func refusal(_ reason: String) -> InvalidExecutor { InvalidExecutor(executor: configuration.name, reason: reason) }
    self.configuration = configuration
    wrapper = try Self.located(configuration.wrapper, in: searchPath, for: configuration.name)
    let isRoot = geteuid() == 0
    // Without capabilities root would still own the system's files.
    let user = configuration.user ?? (isRoot && configuration.sandbox != nil ? "nobody" : nil)
    account = if let user { try Self.account(of: user, for: configuration.name) } else { nil }
    guard let settings = configuration.sandbox else {
      sandbox = nil
      return
    }
    if !wrapper.isEmpty {
      throw refusal("sandbox: there is a wrapper, which would have to be in it; choose one of them")
    }
    if configuration.allowsNewPrivileges == true { throw refusal("sandbox: allow_new_privileges is no wall of one") }
    if account?.uid == 0 { throw refusal("sandbox: its jobs cannot be root's; name another \"user\"") }
    sandbox = try Sandbox(settings, hiding: privatePaths, for: configuration.name)
  }

  /// getpwnam(3); called once at start, before the loop runs.
  private static func account(of user: String, for executor: ExecutorName) throws(InvalidExecutor) -> Account {
    guard let entry = getpwnam(user) else {
      throw InvalidExecutor(executor: executor, reason: "there is no user \"\(user)\" on this machine")
    }
    guard getuid() == 0 || getuid() == entry.pointee.pw_uid else {
      throw InvalidExecutor(
        executor: executor, reason: "only a node that runs as root may run jobs as user \"\(user)\"")
    }
    return Account(uid: entry.pointee.pw_uid, gid: entry.pointee.pw_gid, home: String(cString: entry.pointee.pw_dir))
  }

  /// A wrapper is a wall around the job: neither the job's `PATH` nor a later change of the node's has a say in it.
  private static func located(
    _ wrapper: [String], in searchPath: String, for executor: ExecutorName
  ) throws(InvalidExecutor) -> [String] {
    guard let name = wrapper.first else { return [] }
    let candidates =
      name.utf8.contains(UInt8(ascii: "/")) ? [name] : searchPath.split(separator: ":").map { "\($0)/\(name)" }
    guard let path = candidates.first(where: { $0.hasPrefix("/") && access($0, X_OK) == 0 }) else {
      throw InvalidExecutor(
        executor: executor, reason: "wrapper: there is no program \"\(name)\" in the node's PATH (\(searchPath))")
    }
    return [path] + wrapper.dropFirst()
  }

  var runsAsOtherUser: Bool { account.map { $0.uid != getuid() } ?? false }
  var isSandboxed: Bool { sandbox != nil }
  /// What its jobs find as `HOME`; `nil` for the node's own.
  var home: String? { isSandboxed ? "/tmp" : account?.home }

  /// Program and arguments for one job.
  func command(for job: Job, payloadFile: String?) -> [String] {
    configuration.command.map { word in
      switch configuration.payload {
      case .stdin: word
      case .file: word.replacing("{payload_file}", with: payloadFile ?? "")
      case .argument: word.replacing("{payload}", with: job.payload)
      }
    }
  }

  /// What the launcher is to do for one job.
  /// - Parameters:
  ///   - environment: the job's.
  ///   - wrapperEnvironment: without anything that the job chose.
  ///   - groupBoundsProcesses: whether its control group has a bound for its processes.
  func order(
    for job: Job, payloadFile: String?, environment: [String], wrapperEnvironment: () -> [String],
    by launcher: Launcher,
    groupBoundsProcesses: Bool = false
  ) -> LaunchOrder {
    var order = LaunchOrder(command: command(for: job, payloadFile: payloadFile), environment: environment)
    if let account, runsAsOtherUser { order.identity = (account.uid, account.gid) }
    order.forbidsNewPrivileges = isSandboxed || !(configuration.allowsNewPrivileges ?? !runsAsOtherUser)
    order.limits = configuration.limits
    // Of the node's own user this would count the node and all else that the user runs; root it does not bound.
    if !groupBoundsProcesses, runsAsOtherUser || isSandboxed {
      order.limits.processes = order.limits.processes ?? ResourceLimits.defaultProcesses
    }
    order.sandbox = sandbox?.order(payloadFile: payloadFile)
    if !wrapper.isEmpty {
      order.wrapper = wrapper + [launcher.path]
      order.wrapperEnvironment = wrapperEnvironment()
    }
    return order
  }
}

/// Why an executor cannot be used.
public struct InvalidExecutor: Error, Hashable, Sendable {
  public let executor: ExecutorName
  public let reason: String
}

/// All executors of a node, by name: the built-in ones and those of the configuration, which may replace them.
public struct Executors: Sendable {
  private let table: [ExecutorName: Executor]
  /// Those that run jobs as another user than the node's.
  public let ofOtherUsers: [ExecutorName]
  /// These, and those that run jobs in a sandbox.
  public let separating: [ExecutorName]
  /// The built-in ones that only a runner gets which names them: their jobs would run as the node's own user without any
  /// wall, on a node that is root or has sandboxes, and those of the others be separated from nothing.
  public let withheld: [ExecutorName]
  /// What a runner may use that names none; `nil` for all.
  let unnamed: Set<ExecutorName>?

  /// - Parameters:
  ///   - searchPath: the node's `PATH`, for the programs of wrappers.
  ///   - privatePaths: what no job in a sandbox may see: the node's data directory, its configuration, its keys.
  public init(
    _ configured: [ExecutorConfiguration] = [], searchPath: String = "/usr/local/bin:/usr/bin:/bin",
    privatePaths: [String] = []
  ) throws(InvalidExecutor) {
    var table: [ExecutorName: Executor] = [.echo: .echo]
    var (ofOtherUsers, separating): ([ExecutorName], [ExecutorName]) = ([], [])
    for configuration in Self.builtIn + configured {
      let process = try ProcessExecutor(configuration, searchPath: searchPath, privatePaths: privatePaths)
      table[configuration.name] = .process(process)
      if process.runsAsOtherUser { ofOtherUsers.append(configuration.name) }
      if process.runsAsOtherUser || process.isSandboxed { separating.append(configuration.name) }
    }
    let withheld = separating.isEmpty ? [] : Self.builtIn.map(\.name).filter { !configured.map(\.name).contains($0) }
    self.table = table
    self.ofOtherUsers = ofOtherUsers
    self.separating = separating
    self.withheld = withheld
    unnamed = withheld.isEmpty ? nil : Set(table.keys).subtracting(withheld)
  }

  public subscript(name: ExecutorName) -> Executor? { table[name] }

  public var names: [ExecutorName] { table.keys.sorted() }

  /// Those with walls around their jobs, by name.
  public var sandboxed: [ProcessExecutor] {
    names.compactMap { name in
      guard case .process(let process) = table[name], process.isSandboxed else { return nil }
      return process
    }
  }

  /// The controllers of control groups that the limits of executors need.
  public var controllers: Set<String> {
    table.values.reduce(into: []) {
      if case .process(let process) = $1 { $0.formUnion(process.configuration.limits.group.controllers) }
    }
  }

  /// They read the payload from a file: a program that read it from standard input would share it with whatever the payload
  /// starts, and a command that empties its standard input would cut the rest of a script, in the middle of a line.
  private static let builtIn = [
    ExecutorConfiguration(name: .shell, command: ["/bin/sh", "{payload_file}"], payload: .file),
    // Modules are those of the working directory, as with a payload on standard input, and not those beside the file.
    ExecutorConfiguration(
      name: .python, command: ["python3", "{payload_file}"], payload: .file,
      environment: [
        VariableName(trusted: "PYTHONPATH"): ".", VariableName(trusted: "PYTHONSAFEPATH"): "1",
      ]),
  ]
}

extension ExecutorName {
  public static let echo = ExecutorName(trusted: "echo")
  public static let shell = ExecutorName(trusted: "shell")
  public static let python = ExecutorName(trusted: "python")
}
