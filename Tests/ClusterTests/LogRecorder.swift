import Foundation
import Logging
import Synchronization

/// What a node logs, for tests of what operators are told.
final class LogRecorder: Sendable {
  private let lines = Mutex<[String]>([])

  /// Lines such as `warning a connection was refused reason=…`.
  var all: [String] { lines.withLock { $0 } }
  func contains(_ level: Logger.Level, _ text: String) -> Bool {
    all.contains { $0.hasPrefix("\(level) ") && $0.contains(text) }
  }

  func handler(label: String) -> any LogHandler { Handler(recorder: self, label: label) }

  private struct Handler: LogHandler {
    let recorder: LogRecorder
    let label: String
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.debug
    static let isVerbose = ProcessInfo.processInfo.environment["HERO_TEST_LOG"] != nil

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
      let line = "\(event.level) \(event.message)\(fields)"
      recorder.lines.withLock { $0.append(line) }
      if Self.isVerbose { print(label, line) }
    }
  }
}
