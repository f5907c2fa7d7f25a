import Glibc
import Logging
import Supervisor

/// Writes each event as one line to standard error, by one write(2), so that lines of several threads never mix and a
/// crash loses nothing. What is a line is `LogLine`'s affair.
///
///     LoggingSystem.bootstrap { LineLogHandler(label: $0, configuration: configuration.log) }
struct LineLogHandler: LogHandler {
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?
  let label: String
  let format: LogConfiguration.Format
  private let write: @Sendable ([UInt8]) -> Void

  init(
    label: String, configuration: LogConfiguration,
    write: @escaping @Sendable ([UInt8]) -> Void = { LineLogHandler.writeToStandardError($0) }
  ) {
    self.label = label
    self.write = write
    logLevel = configuration.level
    format = configuration.format
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var fields = metadata
    if let provided = metadataProvider?.get() { fields.merge(provided) { _, new in new } }
    if let own = event.metadata { fields.merge(own) { _, new in new } }
    if let error = event.error { fields["error"] = "\(error)" }
    let line = LogLine(time: .now, level: event.level, message: event.message.description, fields: fields)
    write(line.bytes(format))
  }

  /// One write(2); a line that standard error takes only in part (a full pipe) is continued.
  static func writeToStandardError(_ line: [UInt8]) {
    line.withUnsafeBytes { bytes in
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = Glibc.write(STDERR_FILENO, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
        if count > 0 {
          rest = rest.dropFirst(count)
        } else if errno != EINTR {
          return
        }
      }
    }
  }
}
