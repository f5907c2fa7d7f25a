import Foundation
import Synchronization
import Testing

@Suite("The seed of a test with disturbances", .timeLimit(.minutes(5)))
struct ChaosSeedTests {
  private func numbers(_ seed: UInt64, _ stream: String) -> [UInt64] {
    var generator = SeededGenerator(seed: seed, stream: stream)
    return (0..<100).map { _ in generator.next() }
  }

  @Test("gives each stream its own numbers, and the same ones each time")
  func streams() {
    #expect(numbers(1, "client 1") == numbers(1, "client 1"))
    let all = [numbers(1, "client 1"), numbers(1, "client 2"), numbers(2, "client 1"), numbers(0, "")]
    #expect(Set(all.joined()).count == 400)
  }

  @Test("comes with a history that is written as it happens", .chaos)
  func history() throws {
    let chaos = Chaos.current
    chaos.note("n1 is killed")
    let lines = try String(contentsOfFile: chaos.history.path, encoding: .utf8).split(separator: "\n")
    #expect(lines.count == 2)
    #expect(lines.first?.contains("HERO_SEED=\(chaos.seed)") == true)
    #expect(lines.last?.hasSuffix(" n1 is killed") == true)
  }

  @Test("stands in each issue of the test, with the file of the history, which is kept then")
  func issues() async throws {
    let (test, testCase) = (try #require(Test.current), Test.Case.current)
    let comments = Mutex<[String]>([])
    // Takes the issue away after the trait has seen it.
    let outer = IssueHandlingTrait.compactMapIssues { issue in
      comments.withLock { $0 = issue.comments.map(\.rawValue) }
      return nil
    }
    try await outer.provideScope(for: test, testCase: testCase) {
      try await ChaosTrait().provideScope(for: test, testCase: testCase) { Issue.record("lost") }
    }
    let place = try #require(comments.withLock { $0.last }?.wholeMatch(of: /HERO_SEED=\d+, history in (\S+)/))
    let path = String(place.1)
    #expect(try String(contentsOfFile: path, encoding: .utf8).contains("lost"))
    unlink(path)
  }
}
