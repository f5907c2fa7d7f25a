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

  struct Account: Sendable {
    let uid: uid_t
    let gid: gid_t
    let home: String
  }

  init(_ configuration: ExecutorConfiguration) throws(InvalidExecutor) {
    self.configuration = configuration
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

  var runsAsOtherUser: Bool { account.map { $0.uid != getuid() } ?? false }

  /// The words to execute for one job: setpriv(1) for the user, prlimit(1) for the limits, the wrapper, the command.
  func arguments(payload: String, payloadFile: String?) -> [String] {
    var words: [String] = []
    if let account, runsAsOtherUser {
      words += ["setpriv", "--reuid=\(account.uid)", "--regid=\(account.gid)", "--clear-groups", "--"]
    }
    let limits = configuration.limits
    let options = [
      limits.memoryBytes.map { "--as=\($0)" }, limits.cpuSeconds.map { "--cpu=\($0)" },
      limits.openFiles.map { "--nofile=\($0)" }, limits.processes.map { "--nproc=\($0)" },
    ].compactMap { $0 }
    if !options.isEmpty { words += ["prlimit"] + options }
    words += configuration.wrapper
    for word in configuration.command {
      switch configuration.payload {
      case .stdin: words.append(word)
      case .file: words.append(word.replacing("{payload_file}", with: payloadFile ?? ""))
      case .argument: words.append(word.replacing("{payload}", with: payload))
      }
    }
    return words
  }
}

/// Why an executor cannot be used.
public struct InvalidExecutor: Error, Hashable, Sendable {
  public let executor: ExecutorName
  public let reason: String
}

/// All executors of a node, by name: the built-in ones and those of the configuration, which may replace them.
public struct Executors: Sendable {
  private var table: [ExecutorName: Executor] = [.echo: .echo]

  public init(_ configured: [ExecutorConfiguration] = []) throws(InvalidExecutor) {
    for configuration in Self.builtIn + configured {
      table[configuration.name] = .process(try ProcessExecutor(configuration))
    }
  }

  public subscript(name: ExecutorName) -> Executor? { table[name] }

  public var names: [ExecutorName] { table.keys.sorted() }

  /// Whether some run jobs as another user than the node's.
  public var haveOtherUsers: Bool {
    table.values.contains { if case .process(let process) = $0 { process.runsAsOtherUser } else { false } }
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
