import EventLoop
import Logging
import PostgresJobStore
import SQLiteJobStore
import Supervisor

/// The store that the configuration chose, as an export or an import opens it: it runs no jobs, and deletes no old ones.
enum MovableStore: Sendable {
  case sqlite(SQLiteJobStore)
  case postgres(PostgresJobStore)

  /// Opens it for reading, beside the nodes that use it.
  static func openForExport(
    _ configuration: Configuration, loop: EventLoop, logger: Logger
  ) async throws(CommandFailure) -> MovableStore {
    switch configuration.store {
    case .sqlite(let path):
      do { return .sqlite(try await SQLiteJobStore.openReadOnly(path: path, loop: loop, logger: logger)) } catch {
        throw CommandFailure(
          message: "cannot open the store \(path): \(error)",
          hints: ["--config and --data-dir must be those of the node"], status: .failed)
      }
    case .postgres(let postgres):
      return .postgres(try await open(postgres, "export", isWritten: false, loop: loop, logger: logger))
    }
  }

  /// Opens it for writing: a file for itself, a database beside the nodes that use it.
  static func openForImport(
    _ configuration: Configuration, loop: EventLoop, logger: Logger
  ) async throws(CommandFailure) -> MovableStore {
    switch configuration.store {
    case .sqlite(let path):
      do throws(FileBytes.Failure) { try DataDirectory.prepare(configuration.dataDirectory) } catch {
        throw CommandFailure(message: "cannot use the data directory \(error.path): \(error.reason)", status: .usage)
      }
      var options = SQLiteJobStore.Options()
      options.retentionDays = 0
      options.retentionMaximumJobs = .max
      do {
        return .sqlite(try await SQLiteJobStore.open(path: path, loop: loop, options: options, logger: logger))
      } catch SQLiteJobStoreError.inUse(let holder) {
        throw CommandFailure(
          message: "the store \(path) is in use by a node (\(holder))",
          hints: ["stop the node, import, and start it again"], status: .failed)
      } catch {
        throw CommandFailure(message: "cannot open the store \(path): \(error)", status: .failed)
      }
    case .postgres(let postgres):
      let store = try await open(postgres, "import", isWritten: true, loop: loop, logger: logger)
      do throws(JobStoreError) { try await store.begin() } catch {
        await store.close()
        throw CommandFailure(message: "cannot write the store", error)
      }
      return .postgres(store)
    }
  }

  /// A session of no node, which owns no runner and cannot be taken for one that does.
  private static func open(
    _ postgres: PostgresConfiguration, _ purpose: String, isWritten: Bool, loop: EventLoop, logger: Logger
  ) async throws(CommandFailure) -> PostgresJobStore {
    let identity = "\(purpose)-\(String(UInt64.random(in: .min ... .max), radix: 16))"
    var options = PostgresJobStore.Options(
      url: postgres.url.reveal(), node: NodeName(trusted: identity), instance: identity)
    options.connections = postgres.connections
    options.retentionDays = 0
    options.retentionMaximumJobs = .max
    // Never, as far as an import goes.
    options.retentionInterval = .seconds(365 * 86400)
    options.createsForOwners = isWritten
    options.keepsTimes = isWritten
    do { return try await PostgresJobStore.open(options, loop: loop, logger: logger) } catch {
      throw CommandFailure(
        message: "cannot open the store: \(error)", hints: ["look at store.postgres.url, and at the database's log"],
        status: .failed)
    }
  }

  var jobs: any JobStore {
    switch self {
    case .sqlite(let store): store
    case .postgres(let store): store
    }
  }

  var identity: StoreIdentity {
    switch self {
    case .sqlite(let store): StoreIdentity(kind: .sqlite, instance: store.instance)
    case .postgres: StoreIdentity(kind: .postgres)
    }
  }

  /// All runners, whoever owns them, in the order of their registration.
  func runners() async throws(JobStoreError) -> [RegisteredRunner] {
    switch self {
    case .sqlite(let store): try await store.registeredRunners()
    case .postgres(let store): try await store.ownedRunners().map(\.runner)
    }
  }

  /// Records jobs in this order.
  /// - Returns: for each what `JobStore.create` says.
  func put(_ jobs: [ExportedJob]) async -> [Result<JobCreation, JobStoreError>] {
    switch self {
    case .sqlite(let store): await store.importJobs(jobs)
    case .postgres(let store): await store.importJobs(jobs)
    }
  }

  /// There are jobs in these runners' lines that their owners, if they live, have not heard of.
  func tellOwners(of runners: Set<RunnerName>) async {
    if case .postgres(let store) = self { await store.tellOwners(of: runners) }
  }

  func close() async {
    switch self {
    case .sqlite(let store): await store.close()
    case .postgres(let store): await store.close()
    }
  }
}

extension CommandFailure {
  /// What a store refused.
  init(message: String, hints: [String] = [], _ error: JobStoreError) {
    let reason =
      switch error {
      case .unavailable(let reason, _): reason
      default: "\(error)"
      }
    self.init(message: "\(message): \(reason)", hints: hints, status: .failed)
  }
}
