import CLibUV
import Glibc

/// An operation that libuv or the system refused. `code` is libuv's: a negated errno(3), or one of its own.
public struct UVError: Error, Hashable, Sendable, CustomStringConvertible {
  public let code: Int32
  /// What was attempted, e.g. `connect 127.0.0.1:8082`.
  public let operation: String
  /// Words that say more than the code does, from a layer above the system, such as TLS.
  public let reason: String?

  public init(code: Int32, operation: String, reason: String? = nil) {
    self.code = code
    self.operation = operation
    self.reason = reason
  }

  /// From `errno` after a failed system call.
  public init(errno: Int32, operation: String) { self.init(code: -errno, operation: operation) }

  /// `ECONNRESET`
  public var name: String { code == Self.quotaExceeded ? "EDQUOT" : String(cString: uv_err_name(code)) }
  /// `connection reset by peer`
  public var message: String {
    reason ?? (code == Self.quotaExceeded ? "disk quota exceeded" : String(cString: uv_strerror(code)))
  }
  public var description: String { "\(operation): \(message) (\(name))" }

  public static let connectionReset = UV_ECONNRESET.rawValue
  public static let connectionRefused = UV_ECONNREFUSED.rawValue
  public static let connectionAborted = UV_ECONNABORTED.rawValue
  public static let brokenPipe = UV_EPIPE.rawValue
  public static let cancelled = UV_ECANCELED.rawValue
  public static let noEntry = UV_ENOENT.rawValue
  public static let accessDenied = UV_EACCES.rawValue
  public static let addressInUse = UV_EADDRINUSE.rawValue
  public static let addressNotAvailable = UV_EADDRNOTAVAIL.rawValue
  public static let invalid = UV_EINVAL.rawValue
  public static let notSocket = UV_ENOTSOCK.rawValue
  public static let protocolError = UV_EPROTO.rawValue
  public static let timedOut = UV_ETIMEDOUT.rawValue
  public static let tryAgain = UV_EAGAIN.rawValue
  public static let tooManyFiles = UV_EMFILE.rawValue
  public static let tooManyFilesInSystem = UV_ENFILE.rawValue
  public static let outOfMemory = UV_ENOMEM.rawValue
  public static let noSpace = UV_ENOSPC.rawValue
  /// libuv has no name for it.
  public static let quotaExceeded = -EDQUOT
  public static let messageTooLong = UV_EMSGSIZE.rawValue

  /// Throws when a libuv call answered a negative number.
  @discardableResult
  static func check(_ code: Int32, _ operation: @autoclosure () -> String) throws(UVError) -> Int32 {
    if code < 0 { throw UVError(code: code, operation: operation()) }
    return code
  }
}
