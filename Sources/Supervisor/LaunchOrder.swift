import EventLoop
import Glibc

/// What the launcher is to start, and with which rights; `Sources/CLauncher/launcher.h` describes the bytes.
struct LaunchOrder: Sendable {
  /// The user that the job becomes, without supplementary groups and capabilities; `nil` is the node's own.
  var identity: (uid: UInt32, gid: UInt32)?
  /// No program that the job runs can give it more rights (prctl(2), `PR_SET_NO_NEW_PRIVS`). With an identity, its
  /// bounding set of capabilities is empty too.
  var forbidsNewPrivileges = false
  var limits = ResourceLimits()
  /// The walls around the job; `nil` for none.
  var sandbox: Sandbox?
  /// Whether the job starts in a control group, whose directory is the launcher's descriptor 6.
  var hasGroup = false
  /// Words before the inner launcher, and their environment; empty for none.
  var wrapper: [String] = []
  var wrapperEnvironment: [String] = []
  /// Program and arguments. A name without a slash is looked up in the `PATH` of `environment`, with the job's rights.
  var command: [String]
  /// `NAME=value`.
  var environment: [String] = []

  static let version: UInt64 = 2
  static let headSize = 25 * 8
  /// Where `LaunchReport` begins in it.
  static let reportOffset = 18 * 8
  private static let unset = UInt64.max
  /// How much less urgent a job is than its node: added to the node's nice value.
  static let priority: UInt64 = 5
  /// `oom_score_adj` of a job, unless its node has more: when memory runs out the kernel takes jobs first.
  static let oomScore: UInt64 = 500

  /// What the launcher builds around a job.
  struct Sandbox: Sendable {
    /// A letter, as in launcher.h, and an absolute path each; without the job's directory.
    var mounts: [String]
    /// `struct sock_filter`, 8 bytes each.
    var filter: [UInt8]
    var hasNetwork: Bool
    /// Whether the node is not root and so needs a user namespace for all that.
    var hasUserNamespace: Bool
    /// Of all files in memory.
    var memoryBytes: Int
  }

  private var flags: UInt64 {
    var flags: UInt64 = (identity == nil ? 0 : 1) | (forbidsNewPrivileges ? 2 : 0) | (hasGroup ? 4 : 0)
    if let sandbox { flags |= 16 | (sandbox.hasUserNamespace ? 32 : 0) | (sandbox.hasNetwork ? 64 : 0) }
    return flags
  }

  /// The bytes of the memory file, with room for the report.
  /// - Parameter directory: where the job starts, which its sandbox contains.
  /// - Throws: `UVError.invalid` for a string with a zero byte in it, which would be two.
  func encoded(in directory: String) throws(UVError) -> [UInt8] {
    let mounts = sandbox.map { $0.mounts + ["w\(directory)"] } ?? []
    let filter = sandbox?.filter ?? []
    let groups = [wrapper, wrapperEnvironment, mounts, command, environment]
    guard groups.joined().allSatisfy({ !$0.utf8.contains(0) }) else {
      throw UVError(code: UVError.invalid, operation: "run \(command[0])")
    }
    let size = groups.joined().reduce(Self.headSize + filter.count) { $0 + $1.utf8.count + 1 }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(size)
    func append(_ number: UInt64) { withUnsafeBytes(of: number) { bytes.append(contentsOf: $0) } }
    append(Self.version)
    append(UInt64(size))
    append(flags)
    append(UInt64(identity?.uid ?? geteuid()))
    append(UInt64(identity?.gid ?? getegid()))
    for limit in [limits.memoryBytes, limits.cpuSeconds, limits.openFiles, limits.processes] {
      append(limit.map(UInt64.init) ?? Self.unset)
    }
    append(Self.priority)
    append(Self.oomScore)
    append(UInt64(sandbox?.memoryBytes ?? 0))
    for group in groups { append(UInt64(group.count)) }
    append(UInt64(filter.count / 8))
    bytes.append(contentsOf: repeatElement(0, count: Self.headSize - bytes.count))
    for string in groups.joined() {
      bytes.append(contentsOf: string.utf8)
      bytes.append(0)
    }
    bytes.append(contentsOf: filter)
    return bytes
  }
}
