import EventLoop
import Glibc
import Logging
import Synchronization

/// The file of `log.audit_file`, which only ever grows.
///
/// Lines gather while one write is under way on the thread pool: a slow disk holds up neither the node nor a call. What
/// cannot be written is counted, and said in the log every ten seconds; no call fails by it.
final class AuditFile: Sendable {
  struct Statistics: Sendable {
    var writtenLines = 0
    var lostLines = 0
  }

  /// Closed when the last write that uses it has ended.
  private final class Descriptor: Sendable {
    let number: Int32
    init(_ number: Int32) { self.number = number }
    deinit { Glibc.close(number) }
  }

  private struct State {
    var descriptor: Descriptor
    /// Whole lines that wait for the disk.
    var waiting: [UInt8] = []
    /// A full disk took the beginning of a line only.
    var endsMidLine = false
    var writer: Task<Void, Never>?
    var statistics = Statistics()
    var nextComplaint = ContinuousClock.now
  }

  /// What may wait for a disk that does not answer.
  private static let maximumBytes = 8 << 20

  private let path: String
  private let loop: EventLoop
  private let logger: Logger
  private let state: Mutex<State>

  /// Opens the file, or makes it for its owner alone (0600). Blocks.
  init(_ path: String, on loop: EventLoop, logger: Logger) throws(FileBytes.Failure) {
    self.path = path
    self.loop = loop
    self.logger = logger
    state = Mutex(State(descriptor: try Self.open(path)))
  }

  private static func open(_ path: String) throws(FileBytes.Failure) -> Descriptor {
    // A pipe without a reader must not hold the node up.
    let flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
    let number = Glibc.open(path, flags, 0o600)
    guard number >= 0 else { throw FileBytes.Failure(path: path, reason: errorText(errno), code: errno) }
    let descriptor = Descriptor(number)
    var status = stat()
    guard fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw FileBytes.Failure(path: path, reason: "is not a regular file", code: EINVAL)
    }
    return descriptor
  }

  var statistics: Statistics { state.withLock { $0.statistics } }

  /// Has a line written soon.
  /// - Parameter line: with its end.
  func append(_ line: [UInt8]) {
    let isLost = state.withLock { state in
      guard state.waiting.count + line.count <= Self.maximumBytes else { return true }
      state.waiting += line
      if state.writer == nil { state.writer = Task(executorPreference: loop) { await self.writeAll() } }
      return false
    }
    if isLost { lost(1, "the disk does not answer") }
  }

  /// Goes on in whatever has the name now, once its former bearer was renamed (logrotate).
  /// - Throws: when that cannot be opened; then it goes on in the former one.
  func reopen() async throws {
    let descriptor = try await loop.blocking { [path] in try Self.open(path) }
    state.withLock { state in
      state.descriptor = descriptor
      state.endsMidLine = false
    }
  }

  /// Returns when all lines are written or lost.
  func close() async {
    while let writer = state.withLock({ $0.writer }) { await writer.value }
  }

  private func writeAll() async {
    let lineEnd = UInt8(ascii: "\n")
    while let next = takeWaiting() {
      // What is left of a line that the disk took in part stays a line of its own.
      let start = next.endsLine ? [lineEnd] : []
      let outcome = try? await loop.blocking { Self.write(start + next.lines, to: next.descriptor) }
      let (count, code) = outcome ?? (0, EIO)
      let whole = max(0, count - start.count)
      let written = next.lines[..<whole].count { $0 == lineEnd }
      let unwritten = next.lines[whole...].count { $0 == lineEnd }
      state.withLock { state in
        state.statistics.writtenLines += written
        guard state.descriptor === next.descriptor, count > 0 else { return }
        state.endsMidLine = whole > 0 && next.lines[whole - 1] != lineEnd
      }
      if unwritten > 0 { lost(unwritten, errorText(code)) }
    }
  }

  /// The next lines to write; without any, the writer ends.
  private func takeWaiting() -> (descriptor: Descriptor, endsLine: Bool, lines: [UInt8])? {
    state.withLock { state in
      guard !state.waiting.isEmpty else {
        state.writer = nil
        return nil
      }
      defer { state.waiting = [] }
      return (state.descriptor, state.endsMidLine, state.waiting)
    }
  }

  /// - Returns: how many bytes were written, and the error that ended it.
  private static func write(_ bytes: [UInt8], to descriptor: Descriptor) -> (Int, Int32) {
    var offset = 0
    while offset < bytes.count {
      let count = bytes[offset...].withUnsafeBytes { Glibc.write(descriptor.number, $0.baseAddress, $0.count) }
      if count > 0 {
        offset += count
      } else if errno != EINTR {
        return (offset, errno)
      }
    }
    return (offset, 0)
  }

  private func lost(_ count: Int, _ reason: String) {
    let total: Int? = state.withLock { state in
      state.statistics.lostLines += count
      guard ContinuousClock.now >= state.nextComplaint else { return nil }
      state.nextComplaint = .now + .seconds(10)
      return state.statistics.lostLines
    }
    guard let total else { return }
    logger.error(
      "cannot write the audit file", metadata: ["path": "\(path)", "reason": "\(reason)", "lost_lines": "\(total)"])
  }
}
