import EventLoop
import Supervisor
import Testing

// What every store must do, written against `any JobStore` and nothing else. A store passes when each of
// `StoreCheck.all` does; how a store is made, opened again and looked into is its own test's to say (`StoreUnderTest`).

/// One sentence about stores, and how to find out.
package struct StoreCheck: Sendable, CustomTestStringConvertible {
  let sentence: String
  package let body: @Sendable (StoreUnderTest) async throws -> Void

  init(_ sentence: String, _ body: @escaping @Sendable (StoreUnderTest) async throws -> Void) {
    self.sentence = sentence
    self.body = body
  }

  package var testDescription: String { sentence }

  package static let all =
    creation + transitions + concurrency + waiting + contents + order + queries + paging + deletion + runners
    + reopening + exports
}

/// An empty store, and what a check must know besides the protocol.
package struct StoreUnderTest: Sendable {
  package let store: any JobStore
  /// Closes the store and opens it again, with nothing of it left in memory.
  package let reopen: @Sendable () async throws -> any JobStore
  /// Transactions written since the store was opened.
  package let commits: @Sendable () async -> Int
  /// Calls of `finished` that wait at present.
  package let waiters: @Sendable () async -> Int

  package init(
    store: any JobStore, reopen: @escaping @Sendable () async throws -> any JobStore,
    commits: @escaping @Sendable () async -> Int, waiters: @escaping @Sendable () async -> Int
  ) {
    self.store = store
    self.reopen = reopen
    self.commits = commits
    self.waiters = waiters
  }
}

/// Waits until `condition` holds, at most a minute: hundreds of tests share two processors.
/// - Returns: whether it came to hold.
@discardableResult
package func eventually(_ condition: () async throws -> Bool) async rethrows -> Bool {
  let deadline = ContinuousClock.now + .seconds(60)
  while try await !condition() {
    if ContinuousClock.now > deadline { return false }
    try? await Task.sleep(for: .milliseconds(1))
  }
  return true
}

/// Expects that a call is refused for this reason.
package func expect(
  _ error: JobStoreError, _ location: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async {
  do {
    try await body()
    Issue.record("was accepted, not refused with \(error)", sourceLocation: location)
  } catch let found {
    #expect(found as? JobStoreError == error, sourceLocation: location)
  }
}
