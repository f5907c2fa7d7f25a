import EventLoop
import Foundation
import Logging
import PostgresServer
import Supervisor

@testable import PostgresJobStore

// A database, an event loop and the stores of one test; at its end nothing of them is left.

final class StoreFixture: Sendable {
  let url: String
  let loop: EventLoop
  private let stores = OpenStores()

  private init(_ url: String?) throws {
    self.url = try url ?? PostgresServer.shared.get().makeDatabase()
    loop = try EventLoop()
    loop.start()
  }

  /// - Parameter url: of a database; a new one of the shared server when there is none.
  static func with<Value>(url: String? = nil, _ body: (StoreFixture) async throws -> Value) async throws -> Value {
    let fixture = try StoreFixture(url)
    let result: Result<Value, any Error>
    do { result = .success(try await body(fixture)) } catch { result = .failure(error) }
    await fixture.stores.closeAll()
    await fixture.loop.stop()
    return try result.get()
  }

  func options(node: String = "n1", instance: String? = nil) -> PostgresJobStore.Options {
    var options = PostgresJobStore.Options(
      url: url, node: NodeName(trusted: node), instance: instance ?? "instance of \(node)")
    // The tests make up their instants, so that age says nothing.
    options.retentionDays = 0
    return options
  }

  /// A store with a lease.
  func open(_ options: PostgresJobStore.Options? = nil) async throws -> PostgresJobStore {
    let store = try await openWithoutLease(options)
    try await store.begin()
    return store
  }

  func openWithoutLease(_ options: PostgresJobStore.Options? = nil) async throws -> PostgresJobStore {
    let store = try await PostgresJobStore.open(
      options ?? self.options(), loop: loop, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    await stores.add(store)
    return store
  }

  func close(_ store: PostgresJobStore) async { await stores.close(store) }
}

private actor OpenStores {
  private var stores: [PostgresJobStore] = []
  func add(_ store: PostgresJobStore) { stores.append(store) }

  func close(_ store: PostgresJobStore) async {
    guard let index = stores.firstIndex(where: { $0 === store }) else { return }
    stores.remove(at: index)
    await store.close()
  }

  func closeAll() async { while let store = stores.first { await close(store) } }
}
