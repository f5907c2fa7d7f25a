import Supervisor

// Waiting for a job's end without polling: the commit that writes the end wakes its waiters.

extension SQLiteJobStore {
  public func finished(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    nextWaiter += 1
    let waiter = nextWaiter
    return try await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Result<JobRecord, JobStoreError>, Never>) in
        if Task.isCancelled { return continuation.resume(returning: .failure(.cancelled)) }
        finishWaiters[id, default: [:]][waiter] = continuation
        whenLoaded(id) { self.look($0, waiter, of: id) }
      }
    } onCancel: {
      loop.execute { self.assumeIsolated { $0.end(waiter, of: id, .failure(.cancelled)) } }
    }.get()
  }

  /// What the disk says when the wait begins.
  private func look(_ loaded: LoadResult, _ waiter: UInt64, of id: JobID) {
    switch loaded {
    case .success(nil): end(waiter, of: id, .failure(.notFound(id)))
    case .success(let record?) where record.status.isFinal: end(waiter, of: id, .success(record))
    case .success: if isClosed { end(waiter, of: id, .failure(Self.closed)) }
    case .failure(let error): end(waiter, of: id, .failure(error))
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
}
