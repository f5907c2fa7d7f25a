import Foundation

@testable import Supervisor

extension Launcher {
  /// The launcher that was built with the tests: it lies beside their bundle.
  static func ofTests() throws -> Launcher {
    let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? Bundle.main.executablePath ?? ""
    let directory = URL(fileURLWithPath: bundle).deletingLastPathComponent()
    return try Launcher(path: directory.appendingPathComponent(Launcher.fileName).path)
  }
}
