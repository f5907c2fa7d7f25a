import EventLoop
import Supervisor

// Waiting for a job's end without polling: a step of this node wakes its waiters when it is committed, one of another
// node by NOTIFY (`PostgresJobStore+Control.swift`). Now and then all waits are compared with the database, in case that a
// notification was lost, or that the database has none.

extension PostgresJobStore {
  public func finished(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    nextWaiter += 1
    let waiter = nextWaiter
    return try await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Result<JobRecord, JobStoreError>, Never>) in
        if Task.isCancelled { return continuation.resume(returning: .failure(.cancelled)) }
        if isClosed { return continuation.resume(returning: .failure(Self.closed)) }
        finishWaiters[id, default: [:]][waiter] = continuation
        // Registered first: an end that is committed between the two is not missed.
        Task(executorPreference: loop) { await self.look(waiter, of: id) }
      }
    } onCancel: {
      loop.execute { self.assumeIsolated { $0.end(waiter, of: id, .failure(.cancelled)) } }
    }.get()
  }

  /// What the database says when the wait begins.
  private func look(_ waiter: UInt64, of id: JobID) async {
    do throws(JobStoreError) {
      let record = try await find(id)
      guard let record else { return end(waiter, of: id, .failure(.notFound(id))) }
      if record.status.isFinal { end(waiter, of: id, .success(record)) }
    } catch {
      end(waiter, of: id, .failure(error))
    }
  }

  func wake(_ id: JobID, _ result: Result<JobRecord, JobStoreError>) {
    guard let waiters = finishWaiters.removeValue(forKey: id) else { return }
    for waiter in waiters.values { waiter.resume(returning: result) }
  }

  /// Ends one wait, unless it has ended before.
  private func end(_ waiter: UInt64, of id: JobID, _ result: Result<JobRecord, JobStoreError>) {
    guard let continuation = finishWaiters[id]?.removeValue(forKey: waiter) else { return }
    if finishWaiters[id]!.isEmpty { finishWaiters[id] = nil }
    continuation.resume(returning: result)
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
