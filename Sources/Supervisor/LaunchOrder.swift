import EventLoop

/// What the launcher is to start, and with which rights; `Sources/CLauncher/launcher.h` describes the bytes.
struct LaunchOrder: Sendable {
  /// The user that the job becomes, without supplementary groups and capabilities; `nil` is the node's own.
  var identity: (uid: UInt32, gid: UInt32)?
  /// No program that the job runs can give it more rights (prctl(2), `PR_SET_NO_NEW_PRIVS`). With an identity, its
  /// bounding set of capabilities is empty too.
  var forbidsNewPrivileges = false
  var limits = ResourceLimits()
  /// Whether the job starts in a control group, whose directory is the launcher's descriptor 6.
  var hasGroup = false
  /// Words before the inner launcher, and their environment; empty for none.
  var wrapper: [String] = []
  var wrapperEnvironment: [String] = []
  /// Program and arguments. A name without a slash is looked up in the `PATH` of `environment`, with the job's rights.
  var command: [String]
  /// `NAME=value`.
  var environment: [String] = []

  static let version: UInt64 = 1
  static let headSize = 18 * 8
  private static let unset = UInt64.max

  /// The bytes of the memory file, with room for the report.
  /// - Throws: `UVError.invalid` for a string with a zero byte in it, which would be two.
  func encoded() throws(UVError) -> [UInt8] {
    let groups = [wrapper, wrapperEnvironment, command, environment]
    guard groups.joined().allSatisfy({ !$0.utf8.contains(0) }) else {
      throw UVError(code: UVError.invalid, operation: "run \(command[0])")
    }
    let size = groups.joined().reduce(Self.headSize) { $0 + $1.utf8.count + 1 }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(size)
    func append(_ number: UInt64) { withUnsafeBytes(of: number) { bytes.append(contentsOf: $0) } }
    append(Self.version)
    append(UInt64(size))
    append((identity == nil ? 0 : 1) | (forbidsNewPrivileges ? 2 : 0) | (hasGroup ? 4 : 0))
    append(UInt64(identity?.uid ?? 0))
    append(UInt64(identity?.gid ?? 0))
    for limit in [limits.memoryBytes, limits.cpuSeconds, limits.openFiles, limits.processes] {
      append(limit.map(UInt64.init) ?? Self.unset)
    }
    for group in groups { append(UInt64(group.count)) }
    bytes.append(contentsOf: repeatElement(0, count: Self.headSize - bytes.count))
    for string in groups.joined() {
      bytes.append(contentsOf: string.utf8)
      bytes.append(0)
    }
    return bytes
  }
}
