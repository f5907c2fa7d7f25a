import Supervisor

// Waiting for a job's end without polling: the commit that writes the end wakes its waiters.

extension SQLiteJobStore {
  public func finished(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    nextWaiter += 1
    let waiter = nextWaiter
    while true {
      guard let record = cache[id] else {
        guard try await load(id) != nil else { throw .notFound(id) }
        continue
      }
      if record.status.isFinal { return record }
      // From the look above to the table of waiters nothing else runs on this actor.
      return try await withTaskCancellationHandler {
        await withCheckedContinuation { (continuation: CheckedContinuation<Result<JobRecord, JobStoreError>, Never>) in
          if Task.isCancelled { return continuation.resume(returning: .failure(.cancelled)) }
          finishWaiters[id, default: [:]][waiter] = continuation
        }
      } onCancel: {
        loop.execute { self.assumeIsolated { $0.cancel(waiter, of: id) } }
      }.get()
    }
  }

  func wake(_ id: JobID, _ result: Result<JobRecord, JobStoreError>) {
    guard let waiters = finishWaiters.removeValue(forKey: id) else { return }
    for waiter in waiters.values { waiter.resume(returning: result) }
  }

  private func cancel(_ waiter: UInt64, of id: JobID) {
    guard let continuation = finishWaiters[id]?.removeValue(forKey: waiter) else { return }
    if finishWaiters[id]!.isEmpty { finishWaiters[id] = nil }
    continuation.resume(returning: .failure(.cancelled))
  }
}
