import Glibc

/// What execve(2) takes: bounds for the words and variables that a process is started with, known before there is one.
struct ArgumentRoom: Sendable {
  /// The longest string, with the NUL at its end: MAX_ARG_STRLEN, 32 pages.
  static let stringBytes = 32 * Int(getpagesize())
  /// All strings together, with their NULs and a pointer for each.
  let bytes: Int

  /// ARG_MAX of <linux/limits.h>: so much is there whatever the limit of the stack is.
  private static let leastBytes = 131_072
  /// Three quarters of the kernel's own size of a stack, 8 MiB: there is no more, whatever the limit is.
  private static let mostBytes = 6 << 20
  /// For what is not known yet: the path of the program, an interpreter that it names in its first line, a wrapper's words.
  private static let reservedBytes = 8192

  /// - Parameter stackLimit: `RLIMIT_STACK` of the process, of which the strings may fill a quarter.
  init(stackLimit: UInt64) {
    bytes = min(Self.mostBytes, max(Self.leastBytes, Int(clamping: stackLimit / 4))) - Self.reservedBytes
  }

  /// With the limit of the node, which jobs inherit.
  init() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit)
    self.init(stackLimit: UInt64(limit.rlim_cur))
  }

  /// What a string takes of it.
  static func size(_ string: some StringProtocol) -> Int { string.utf8.count + 1 + MemoryLayout<UInt>.size }
}
