import Glibc

/// A directory of one test, removed with all it holds when the test is over, also what a job would have made hard to remove.
final class ScratchDirectory: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/hero-workspaces-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil, "mkdtemp failed: \(errno)")
    path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  deinit { Self.shell("chattr -R -i '\(path)' 2>/dev/null; rm -rf '\(path)'") }

  /// Runs a command line to its end.
  /// - Returns: whether its status was 0.
  @discardableResult
  static func shell(_ command: String) -> Bool { system("{ \(command); } >/dev/null 2>&1") == 0 }
}
