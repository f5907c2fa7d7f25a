import Foundation
import Synchronization
import Testing

// What makes a test with random disturbances repeatable: one seed for all that is random in it, and its history in a file.

/// The random choices and the history of one run of a test that is marked with `.chaos`.
///
/// The seed is that of `HERO_SEED` (decimal), or else a random one. It is printed when the test starts and appended to
/// each issue of the test, together with the path of the history. The history is removed when the test passes.
///
///     @Test("…", .chaos) func history() async throws {
///       var dice = Chaos.current.generator("client 1")
///       let pause = Int.random(in: 0...3, using: &dice)
///       Chaos.current.note("client 1 waits for \(pause) ms")
///     }
struct Chaos: Sendable {
  let seed: UInt64
  let history: HistoryFile

  @TaskLocal fileprivate static var inTest: Chaos?

  /// That of the test that is running.
  static var current: Chaos {
    guard let inTest else { preconditionFailure("the test is not marked with .chaos") }
    return inTest
  }

  fileprivate init(of test: String) throws {
    let wanted = ProcessInfo.processInfo.environment["HERO_SEED"]
    if let wanted, UInt64(wanted) == nil { throw InvalidSeed(text: wanted) }
    seed = wanted.flatMap(UInt64.init) ?? .random(in: 0...UInt64.max)
    history = try HistoryFile(name: test)
    history.note("\(test) HERO_SEED=\(seed) at \(Date.now.formatted(.iso8601))")
  }

  /// The generator of one participant, such as a client or the disturber. The numbers that it draws depend on the seed and
  /// on its name only, not on what the others draw meanwhile.
  func generator(_ stream: String) -> SeededGenerator { SeededGenerator(seed: seed, stream: stream) }

  /// Writes a line of history.
  func note(_ line: String) { history.note(line) }

  struct InvalidSeed: Error, CustomStringConvertible {
    let text: String
    var description: String { "HERO_SEED is not a number from 0 to \(UInt64.max): \(text)" }
  }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), begun at a place of its own
/// for each name of a stream.
struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64

  init(seed: UInt64, stream: String) {
    // FNV-1a, since Swift's own hashes differ from process to process.
    let hash = stream.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    state = Self.mix(seed) ^ Self.mix(hash)
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return Self.mix(state)
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var value = value
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }
}

/// What happened, line by line with its time; written at once, so that it is there as well when the process is killed.
final class HistoryFile: Sendable {
  let path: String
  private let start = ContinuousClock.now
  private let descriptor: Mutex<Int32>

  fileprivate init(name: String) throws {
    let word = String(name.map { $0.isLetter || $0.isNumber ? $0 : "-" })
    path =
      "\(FileManager.default.temporaryDirectory.path)/hero-history-\(word)-\(getpid())-\(UUID().uuidString.prefix(8))"
    let opened = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o600)
    guard opened >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    descriptor = Mutex(opened)
  }

  deinit { descriptor.withLock { _ = close($0) } }

  /// Appends a line with the seconds since the start.
  func note(_ line: String) {
    descriptor.withLock {
      // Taken within the lock: the times of the file ascend.
      let time = (ContinuousClock.now - start) / .seconds(1)
      let bytes = Array("\(String(format: "%10.4f", time)) \(line)\n".utf8)
      _ = write($0, bytes, bytes.count)
    }
  }

  fileprivate func remove() { unlink(path) }
}

/// Gives a test its `Chaos.current`.
struct ChaosTrait: TestTrait, TestScoping {
  /// What a test threw.
  struct Failure: Error, CustomStringConvertible {
    let error: any Error
    let place: String
    var description: String { "\(error) (\(place))" }
  }

  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
  ) async throws {
    let chaos = try Chaos(of: test.name.replacing("()", with: ""))
    let place = "HERO_SEED=\(chaos.seed), history in \(chaos.history.path)"
    print("\(test.displayName ?? test.name): \(place)")
    fflush(nil)
    let hasFailed = Atomic<Bool>(false)
    let issues = IssueHandlingTrait.compactMapIssues { issue in
      if issue.isFailure { hasFailed.store(true, ordering: .relaxed) }
      chaos.note("issue: \(issue)")
      var issue = issue
      issue.comments.append("\(place)")
      return issue
    }
    do {
      try await issues.provideScope(for: test, testCase: testCase) {
        try await Chaos.$inTest.withValue(chaos, operation: function)
      }
    } catch let error as ExpectationFailedError {
      throw error  // An issue already.
    } catch {
      chaos.note("error: \(error)")
      throw Failure(error: error, place: place)
    }
    // Kept as well after a time limit, which cancels the test and is no issue within it.
    if !hasFailed.load(ordering: .relaxed) && !Task.isCancelled { chaos.history.remove() }
  }
}

extension Trait where Self == ChaosTrait {
  /// The test draws its random choices from `Chaos.current`.
  static var chaos: Self { ChaosTrait() }
}
