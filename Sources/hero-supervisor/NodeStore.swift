import EventLoop
import Logging
import PostgresJobStore
import SQLiteJobStore
import Supervisor
import SupervisorAPI

/// The store that the configuration chose, from its opening to its end.
enum NodeStore: Sendable {
  case sqlite(SQLiteJobStore)
  case postgres(PostgresJobStore, InstanceFile)

  static func open(_ configuration: Configuration, loop: EventLoop, logger: Logger) async throws -> NodeStore {
    let retention = configuration.retention
    switch configuration.store {
    case .sqlite(let path):
      var options = SQLiteJobStore.Options()
      options.retentionDays = retention.days
      options.retentionMaximumJobs = retention.maxJobs
      do {
        return .sqlite(try await SQLiteJobStore.open(path: path, loop: loop, options: options, logger: logger))
      } catch {
        throw CommandFailure(message: "cannot open the store \(path): \(error)", status: .failed)
      }
    case .postgres(let postgres):
      let instance = try InstanceFile(in: configuration.dataDirectory)
      var options = PostgresJobStore.Options(
        url: postgres.url.reveal(), node: configuration.nodeName, instance: instance.identity)
      options.freshURL = postgres.freshURL
      options.lease = .milliseconds(Int64(postgres.leaseSeconds * 1000))
      options.connections = postgres.connections
      options.retentionDays = retention.days
      options.retentionMaximumJobs = retention.maxJobs
      do {
        return .postgres(try await PostgresJobStore.open(options, loop: loop, logger: logger), instance)
      } catch {
        instance.release()
        throw CommandFailure(
          message: "cannot open the store: \(error)", hints: ["look at store.postgres.url, and at the database's log"],
          status: .failed)
      }
    }
  }

  var jobs: any JobStore {
    switch self {
    case .sqlite(let store): store
    case .postgres(let store, _): store
    }
  }

  /// Identity of the store's owner; every child carries it.
  var instance: String {
    switch self {
    case .sqlite(let store): store.instance
    case .postgres(_, let file): file.identity
    }
  }

  func close() async {
    switch self {
    case .sqlite(let store): await store.close()
    case .postgres(let store, let file):
      await store.close()
      file.release()
    }
  }

  /// For `GET /metrics`.
  func families() async -> [Metrics.Family] {
    let isWritable = await jobs.unavailability() == nil
    let writable = Metrics.Family(
      "hero_store_writable", "gauge", "0 while the store refuses writes.", isWritable ? 1 : 0)
    switch self {
    case .sqlite(let store):
      let counts = await store.statistics
      return [writable]
        + Self.commits(counts.commits, counts.failedCommits, counts.steps, counts.lastCommitMilliseconds) + [
          Self.expired(counts.expiredJobs),
          .init(
            "hero_store_clock_leap_seconds", "gauge",
            "How far the date is ahead of where the store expected it, until that is confirmed; 0 when it is not.",
            Double(await store.unconfirmedLeap ?? 0) / 1000),
        ]
    case .postgres(let store, _):
      let counts = await store.statistics
      let lease = await store.sharedStatus().leaseRemaining
      return [writable]
        + Self.commits(counts.commits, counts.failedCommits, counts.steps, counts.lastCommitMilliseconds) + [
          .init(
            "hero_store_lease_seconds", "gauge", "Until this node stops its jobs, unless it reaches the database.",
            max(0, (lease ?? .zero) / .seconds(1))),
          .init(
            "hero_store_connections_total", "counter", "Connections to the database that were made.",
            Double(counts.connections)),
          .init(
            "hero_store_server_changes_total", "counter",
            "How often the database was another server than before, or a restarted one.", Double(counts.serverChanges)),
          .init(
            "hero_store_stalls_total", "counter",
            "How often writes waited so long for the database that callers were refused.", Double(counts.stalls)),
          .init("hero_store_reads_total", "counter", "Jobs that were read by their id.", Double(counts.reads)),
          .init(
            "hero_store_notifications_total", "counter", "Notifications sent to other nodes.",
            Double(counts.notifications)),
          Self.expired(counts.expiredJobs),
        ]
    }
  }

  private static func expired(_ count: Int) -> Metrics.Family {
    .init("hero_store_expired_jobs_total", "counter", "Finished jobs that retention has deleted.", Double(count))
  }

  /// An operator says that the date is right.
  /// - Returns: how far it had leapt, in milliseconds.
  func confirmClock() async -> Int64 {
    guard case .sqlite(let store) = self else { return 0 }
    return await store.confirmClock()
  }

  /// What an operator should know of a store that works.
  func remark() async -> String? {
    guard case .sqlite(let store) = self, let leap = await store.unconfirmedLeap else { return nil }
    return """
      the date is \(Duration.milliseconds(abs(leap)).components.seconds) s \(leap < 0 ? "behind" : "ahead of") where the \
      store expected it: finished jobs are kept longer until this is confirmed
      """
  }

  private static func commits(
    _ commits: Int, _ failed: Int, _ steps: Int, _ lastMilliseconds: UInt64
  ) -> [Metrics.Family] {
    [
      .init("hero_store_commits_total", "counter", "Transactions that reached the disk.", Double(commits)),
      .init("hero_store_failed_commits_total", "counter", "Transactions that were refused.", Double(failed)),
      .init("hero_store_steps_total", "counter", "Steps of jobs that reached the disk.", Double(steps)),
      .init(
        "hero_store_last_commit_seconds", "gauge", "How long the last transaction took, with its fsync.",
        Double(lastMilliseconds) / 1000),
    ]
  }
}

extension PostgresConfiguration {
  /// Reads the connection string again, for each connection that is made: a password in a file may have changed.
  fileprivate var freshURL: (@Sendable () throws -> String)? {
    guard case .file = source else { return nil }
    return { [source] in
      do throws(SecretReference.Failure) {
        return try source.resolve(relativeTo: "/", environment: [:]).secrets[0].reveal()
      } catch {
        throw UnreadableURL(description: error.reason)
      }
    }
  }
}

private struct UnreadableURL: Error, CustomStringConvertible {
  let description: String
}
