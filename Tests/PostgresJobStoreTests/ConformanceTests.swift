import EventLoop
import JobStoreConformance
import Supervisor
import Testing

@testable import PostgresJobStore

// This store against what every store must do, on a real server.

@Suite("PostgresJobStore does what every store must do", .timeLimit(.minutes(10)))
struct ConformanceTests {
  @Test(arguments: StoreCheck.all)
  func conforms(_ check: StoreCheck) async throws {
    try await StoreFixture.with { fixture in try await check.body(try await fixture.underTest()) }
  }

  /// As in a node, where callers run on the loop of the store.
  @Test(arguments: StoreCheck.all)
  func conformsWhenCalledFromItsLoop(_ check: StoreCheck) async throws {
    try await StoreFixture.with { fixture in
      let under = try await fixture.underTest()
      try await Task(executorPreference: fixture.loop) { try await check.body(under) }.value
    }
  }
}

extension StoreFixture {
  fileprivate func underTest() async throws -> StoreUnderTest {
    // The checks make up their instants; `DatabaseTimeTests` has the database's.
    var options = self.options()
    options.keepsTimes = true
    let kept = options
    let present = Present(try await open(kept))
    return StoreUnderTest(
      store: await present.store,
      reopen: {
        await self.close(present.store)
        let store = try await self.open(kept)
        await present.replace(store)
        return store
      },
      commits: { await present.store.statistics.commits },
      waiters: { await present.store.finishWaiters.values.reduce(0) { $0 + $1.count } })
  }
}

/// The store that is open at present.
private actor Present {
  private(set) var store: PostgresJobStore
  init(_ store: PostgresJobStore) { self.store = store }
  func replace(_ store: PostgresJobStore) { self.store = store }
}
