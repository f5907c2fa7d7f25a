import EventLoop
import Glibc

/// What a launcher wrote about its job before it ended.
enum LaunchReport: Hashable, Sendable {
  /// The job's main process ended by itself or by a signal.
  case ended(ExitStatus, hasSurvivors: Bool)
  /// The command could not be started.
  case failed(UVError)
  /// The launcher itself was ended before it could say anything.
  case missing

  private static let size = 5 * 8

  init(from file: MemoryFile, command: String) {
    self.init(file.read(at: LaunchOrder.reportOffset, count: Self.size), command: command)
  }

  /// - Parameter bytes: the end of the order's head, from `failed_step` on.
  init(_ bytes: [UInt8], command: String) {
    guard bytes.count == Self.size else {
      self = .missing
      return
    }
    let numbers = bytes.withUnsafeBytes { bytes in
      (0..<5).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
    }
    if numbers[0] != 0 {
      self = .failed(
        UVError(errno: Int32(truncatingIfNeeded: numbers[1]), operation: Self.operation(numbers[0], command)))
    } else if numbers[2] != 0 {
      self = .ended(ExitStatus(waitStatus: Int32(truncatingIfNeeded: numbers[3])), hasSurvivors: numbers[4] != 0)
    } else {
      self = .missing
    }
  }

  /// `enum step` of launcher.h.
  private static func operation(_ step: UInt64, _ command: String) -> String {
    switch step {
    case 1: "read the order of the node"
    case 2: "start a process"
    case 3: "make a session"
    case 4: "set limits"
    case 5: "change the user"
    case 6: "give up privileges"
    case 8: "make the namespaces of a sandbox"
    case 9: "make the root directory of a sandbox"
    case 10: "filter system calls"
    default: "run \(command)"
    }
  }
}
