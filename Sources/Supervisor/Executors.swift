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

  struct Account: Sendable {
    let uid: uid_t
    let gid: gid_t
    let home: String
  }

  /// - Parameter searchPath: where a wrapper's program is looked up: directories between colons.
  init(_ configuration: ExecutorConfiguration, searchPath: String) throws(InvalidExecutor) {
    self.configuration = configuration
    wrapper = try Self.located(configuration.wrapper, in: searchPath, for: configuration.name)
    account =
      if let user = configuration.user {
        try Self.account(of: user, for: configuration.name)
      } else {
        nil
      }
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

  /// What the launcher is to do for one job.
  /// - Parameters:
  ///   - environment: the job's.
  ///   - wrapperEnvironment: without anything that the job chose.
  func order(
    for job: Job, payloadFile: String?, environment: [String], wrapperEnvironment: () -> [String], by launcher: Launcher
  ) -> LaunchOrder {
    let command = configuration.command.map { word in
      switch configuration.payload {
      case .stdin: word
      case .file: word.replacing("{payload_file}", with: payloadFile ?? "")
      case .argument: word.replacing("{payload}", with: job.payload)
      }
    }
    var order = LaunchOrder(command: command, environment: environment)
    if let account, runsAsOtherUser { order.identity = (account.uid, account.gid) }
    order.forbidsNewPrivileges = !(configuration.allowsNewPrivileges ?? !runsAsOtherUser)
    order.limits = configuration.limits
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
  /// The built-in ones that only a runner gets which names them: on a node that runs as root and has executors of other
  /// users their jobs would run as root, and those of the others be separated from nothing.
  public let withheld: [ExecutorName]
  /// What a runner may use that names none; `nil` for all.
  let unnamed: Set<ExecutorName>?

  /// - Parameter searchPath: the node's `PATH`, for the programs of wrappers.
  public init(
    _ configured: [ExecutorConfiguration] = [], searchPath: String = "/usr/local/bin:/usr/bin:/bin"
  ) throws(InvalidExecutor) {
    var table: [ExecutorName: Executor] = [.echo: .echo]
    var ofOtherUsers: [ExecutorName] = []
    for configuration in Self.builtIn + configured {
      let process = try ProcessExecutor(configuration, searchPath: searchPath)
      table[configuration.name] = .process(process)
      if process.runsAsOtherUser { ofOtherUsers.append(configuration.name) }
    }
    let isSeparating = getuid() == 0 && !ofOtherUsers.isEmpty
    let withheld = isSeparating ? Self.builtIn.map(\.name).filter { !configured.map(\.name).contains($0) } : []
    self.table = table
    self.ofOtherUsers = ofOtherUsers
    self.withheld = withheld
    unnamed = withheld.isEmpty ? nil : Set(table.keys).subtracting(withheld)
  }

  public subscript(name: ExecutorName) -> Executor? { table[name] }

  public var names: [ExecutorName] { table.keys.sorted() }

  /// The controllers of control groups that the limits of executors need.
  public var controllers: Set<String> {
    table.values.reduce(into: []) {
      if case .process(let process) = $1 { $0.formUnion(process.configuration.limits.group.controllers) }
    }
  }

  private static let builtIn = [
    ExecutorConfiguration(name: .shell, command: ["/bin/sh", "-s"]),
    ExecutorConfiguration(name: .python, command: ["python3", "-"]),
  ]
}

extension ExecutorName {
  public static let echo = ExecutorName(trusted: "echo")
  public static let shell = ExecutorName(trusted: "shell")
  public static let python = ExecutorName(trusted: "python")
}
