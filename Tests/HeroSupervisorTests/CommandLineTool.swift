import Foundation

/// Runs the built program, which lies beside the test bundle, with an environment of the test's own.
final class CommandLineTool {
  struct Outcome {
    let status: Int32
    let output: String
    let error: String
  }

  private let directory = TemporaryDirectory()
  private let process = Process()

  static let path: String = {
    let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    let tests = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? bundle
    let directory = (tests as NSString).deletingLastPathComponent
    return "\(directory)/hero-supervisor"
  }()

  /// - Parameter terminal: a descriptor to use as standard error in place of a file.
  init(
    _ arguments: [String], environment: [String: String] = [:], input: String? = nil, terminal: Int32? = nil
  ) throws {
    process.executableURL = URL(fileURLWithPath: Self.path)
    process.arguments = arguments
    process.environment = ["HOME": directory.path, "HERO_DATA_DIR": directory.path, "PATH": "/usr/bin:/bin"].merging(
      environment
    ) { $1 }
    process.currentDirectoryURL = URL(fileURLWithPath: directory.path)
    directory.write("", to: "out")
    directory.write("", to: "err")
    process.standardInput = FileHandle(
      forReadingAtPath: input.map { directory.write($0, to: "in") } ?? "/dev/null")
    process.standardOutput = FileHandle(forWritingAtPath: "\(directory.path)/out")
    process.standardError =
      terminal.map { FileHandle(fileDescriptor: $0) } ?? FileHandle(forWritingAtPath: "\(directory.path)/err")
  }

  /// Writes a file into the program's working directory, which is its data directory as well.
  @discardableResult
  func write(_ text: String, to name: String) -> String { directory.write(text, to: name) }

  deinit {
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
  }

  /// The program's working directory, home and data directory.
  var directoryPath: String { directory.path }

  func start() throws { try process.run() }

  func interrupt() { process.interrupt() }
  func terminate() { process.terminate() }
  var isRunning: Bool { process.isRunning }

  /// What it wrote to standard error so far.
  var errorSoFar: String { read("err") }

  /// Of a node: where its API listens, once it is ready.
  func endpoint() async throws -> String {
    let deadline = ContinuousClock.now + .seconds(20)
    while process.isRunning, ContinuousClock.now < deadline {
      if let match = errorSoFar.firstMatch(of: /api=http:\/\/([0-9.:]+)/) { return String(match.1) }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw NotReady(log: errorSoFar)
  }

  struct NotReady: Error { let log: String }

  /// Waits for the end, at most 30 seconds.
  func outcome() async -> Outcome {
    let deadline = ContinuousClock.now + .seconds(30)
    while process.isRunning, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(5)) }
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
    return Outcome(status: process.terminationStatus, output: read("out"), error: read("err"))
  }

  /// What it wrote to standard output.
  var outputBytes: [UInt8] { bytes("out") }

  private func read(_ name: String) -> String { String(decoding: bytes(name), as: UTF8.self) }

  private func bytes(_ name: String) -> [UInt8] {
    Array(FileManager.default.contents(atPath: "\(directory.path)/\(name)") ?? Data())
  }

  /// Runs to the end.
  static func run(
    _ arguments: String..., environment: [String: String] = [:], input: String? = nil
  ) async throws -> Outcome {
    let tool = try CommandLineTool(arguments, environment: environment, input: input)
    try tool.start()
    return await tool.outcome()
  }
}
