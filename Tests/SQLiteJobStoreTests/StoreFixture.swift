import EventLoop
import Foundation
import Logging
import Supervisor

@testable import SQLiteJobStore

// A directory, an event loop and the stores of one test; at its end nothing of them is left.

/// The stores of one test, opened one after the other.
final class StoreFixture: Sendable {
  let directory: String
  let loop: EventLoop
  private let stores = OpenStores()

  var path: String { "\(directory)/jobs.db" }

  private init(_ directory: String?) throws {
    self.directory = directory ?? NSTemporaryDirectory() + "hero-store-\(UUID().uuidString)"
    if directory == nil {
      try FileManager.default.createDirectory(atPath: self.directory, withIntermediateDirectories: false)
    }
    loop = try EventLoop()
    loop.start()
  }

  /// - Parameter directory: where the file lies; a temporary directory when there is none.
  static func with<Value>(
    directory: String? = nil, _ body: (StoreFixture) async throws -> Value
  ) async throws -> Value {
    let fixture = try StoreFixture(directory)
    let result: Result<Value, any Error>
    do { result = .success(try await body(fixture)) } catch { result = .failure(error) }
    await fixture.closeAll()
    await fixture.loop.stop()
    if directory == nil { try FileManager.default.removeItem(atPath: fixture.directory) }
    return try result.get()
  }

  func open(_ options: SQLiteJobStore.Options = .keepingAll, path: String? = nil) async throws -> SQLiteJobStore {
    let store = try await SQLiteJobStore.open(
      path: path ?? self.path, loop: loop, options: options,
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    await stores.add(store)
    return store
  }

  /// What opening is refused with, in words; `nil` when it is not.
  func refusal(path: String? = nil) async -> SQLiteJobStoreError? {
    do {
      let store = try await open(path: path)
      await close(store)
      return nil
    } catch { return error as? SQLiteJobStoreError ?? .cannotOpen("unexpected: \(error)") }
  }

  func close(_ store: SQLiteJobStore) async { await stores.close(store) }
  func closeAll() async { await stores.closeAll() }

  /// The names of the files in the directory.
  var files: [String] { (try? FileManager.default.contentsOfDirectory(atPath: directory).sorted()) ?? [] }

  /// What a crash at this moment would leave, in a directory of its own: the file and its log as they are on disk.
  func crashed(_ body: (_ path: String) async throws -> Void) async throws {
    let copy = "\(directory)/crashed"
    try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: false)
    for name in files where name == "jobs.db" || name == "jobs.db-wal" {
      try FileManager.default.copyItem(atPath: "\(directory)/\(name)", toPath: "\(copy)/\(name)")
    }
    try await body("\(copy)/jobs.db")
    try FileManager.default.removeItem(atPath: copy)
  }
}

extension SQLiteJobStore.Options {
  /// The tests make up their instants, so that age says nothing.
  static var keepingAll: Self {
    var options = Self()
    options.retentionDays = 0
    return options
  }
}

private actor OpenStores {
  private var stores: [SQLiteJobStore] = []
  func add(_ store: SQLiteJobStore) { stores.append(store) }

  func close(_ store: SQLiteJobStore) async {
    guard let index = stores.firstIndex(where: { $0 === store }) else { return }
    stores.remove(at: index)
    await store.close()
  }

  func closeAll() async { while let store = stores.first { await close(store) } }
}
