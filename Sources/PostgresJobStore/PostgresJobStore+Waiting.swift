import EventLoop
import Supervisor

// Waiting for a job's end without polling: a step of this node wakes its waiters when it is committed, one of another
// node by NOTIFY (`PostgresJobStore+Control.swift`). Now and then all waits are compared with the database, in case that a
// notification was lost, or that the database has none.

extension PostgresJobStore {
  public func finished(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    if Task.isCancelled { throw .cancelled }
    if isClosed { throw Self.closed }
    let end = Promise<Result<JobRecord, JobStoreError>>(on: loop)
    finishWaiters[id, default: [:]][ObjectIdentifier(end)] = end
    defer { forget(end, of: id) }
    // Registered first: an end that is committed between the two is not missed.
    Task(executorPreference: loop) { await self.look(for: end, of: id) }
    guard let result = await end.valueUnlessCancelled() else { throw .cancelled }
    return try result.get()
  }

  /// What the database says when the wait begins.
  private func look(for end: Promise<Result<JobRecord, JobStoreError>>, of id: JobID) async {
    do throws(JobStoreError) {
      guard let record = try await find(id) else {
        end.resolve(.failure(.notFound(id)))
        return
      }
      if record.status.isFinal { end.resolve(.success(record)) }
    } catch {
      // While the database is away, the wait goes on; the store looks again when it is back.
      hasUnseenWaits = true
    }
  }

  func wake(_ id: JobID, _ result: Result<JobRecord, JobStoreError>) {
    for end in (finishWaiters.removeValue(forKey: id) ?? [:]).values { end.resolve(result) }
  }

  private func forget(_ end: Promise<Result<JobRecord, JobStoreError>>, of id: JobID) {
    finishWaiters[id]?[ObjectIdentifier(end)] = nil
    if finishWaiters[id]?.isEmpty == true { finishWaiters[id] = nil }
  }

  /// Wakes those of these jobs that have ended, or are gone.
  func compare(_ ids: [JobID]) async {
    await withDiscardingTaskGroup { group in
      for id in ids where finishWaiters[id] != nil { group.addTask { await self.compare(id) } }
    }
  }

  private func compare(_ id: JobID) async {
    do throws(JobStoreError) {
      guard let record = try await find(id) else { return wake(id, .failure(.notFound(id))) }
      if record.status.isFinal { wake(id, .success(record)) }
    } catch {
      // While the database is away, waits go on.
    }
  }

  /// Compares all waits, some at a time.
  func compareAll() async {
    let ids = Array(finishWaiters.keys)
    guard !ids.isEmpty else { return }
    var next = ids.startIndex
    while next < ids.endIndex {
      let part = ids[next..<min(next + 1000, ids.endIndex)]
      next = part.endIndex
      let query = Statement(
        name: "ended", sql: "SELECT id FROM hero_jobs WHERE id = ANY($1) AND status IN (0, 1, 2)",
        parameters: [.texts(part.map(\.rawValue))])
      guard let rows = try? await ask([query])[0].rows else { return }
      let unfinished = Set(rows.map { JobID(trusted: $0.text(0)!) })
      await compare(part.filter { !unfinished.contains($0) })
    }
  }
}
