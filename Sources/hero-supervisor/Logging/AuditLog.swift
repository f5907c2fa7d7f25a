import ExactText
import Logging
import Supervisor
import SupervisorAPI
import Synchronization

/// Keeps the record of who did what: in the log, and with `log.audit_file` in a file of its own as well.
///
/// What every job makes its caller do (`frequent`) is in the file only. Refusals of keys are all in the file, and in the
/// log as many as anyone would read: a stranger must not fill a disk.
final class AuditLog: Sendable {
  /// Calls that come by the thousand a second: a line of the log would cost more than the call is worth.
  private static let frequent = ["jobs.create", "job.start", "job.run"]

  private let logger: Logger
  private let file: AuditFile?
  private let refusals = Mutex(RefusalWindow())

  init(_ logger: Logger, file: AuditFile?) {
    self.logger = logger
    self.file = file
  }

  /// - Parameter hasOnlyLocalKey: whether the one key is the node's own, which nobody configured.
  func trail(hasOnlyLocalKey: Bool) -> AuditTrail {
    let keepsFrequent = file != nil
    return AuditTrail(
      hasOnlyLocalKey: hasOnlyLocalKey, keeps: { keepsFrequent || !Self.frequent.containsExactly($0) },
      record: { self.record($0) })
  }

  /// Counts of the file; `nil` without one.
  var statistics: AuditFile.Statistics? { file?.statistics }

  /// SIGHUP: the file may have been renamed.
  func reopen() async {
    guard let file else { return }
    do {
      try await file.reopen()
      logger.notice("the audit file was opened again")
    } catch {
      let reason = (error as? FileBytes.Failure)?.reason ?? "\(error)"
      logger.error("the audit file cannot be opened again, the former goes on", metadata: ["reason": "\(reason)"])
    }
  }

  func close() async { await file?.close() }

  private func record(_ entry: AuditEntry) {
    var fields: Logger.Metadata = [
      "key": "\(entry.key)", "method": "\(entry.method)", "outcome": "\(entry.code.map(String.init) ?? "ok")",
    ]
    if let peer = entry.peer { fields["from"] = "\(peer)" }
    for subject in entry.subjects { fields[subject.kind] = "\(subject.name)" }
    let isRefusal = entry.kind == .refusal
    let message = isRefusal ? "key refused" : "call"
    if let file {
      file.append(
        LogLine(time: .now, level: isRefusal ? .notice : .info, message: message, fields: fields).bytes(.json))
    }
    if isRefusal {
      guard let omitted = refusals.withLock({ $0.admit(at: .now) }) else { return }
      if omitted > 0 { fields["not_logged_before"] = "\(omitted)" }
      logger.notice("\(message)", metadata: fields)
    } else if !Self.frequent.containsExactly(entry.method) {
      logger.info("\(message)", metadata: fields)
    }
  }
}

/// Lets twenty refusals a second into the log.
struct RefusalWindow {
  private static let maximum = 20
  private var end = ContinuousClock.now
  private var count = 0
  private var omitted = 0

  /// - Returns: `nil` for one that shall not be logged, else how many were not since the last one that was.
  mutating func admit(at now: ContinuousClock.Instant) -> Int? {
    if now >= end {
      end = now + .seconds(1)
      count = 0
    }
    guard count < Self.maximum else {
      omitted += 1
      return nil
    }
    count += 1
    defer { omitted = 0 }
    return omitted
  }
}
