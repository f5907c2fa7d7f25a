import EventLoop
import Supervisor

// Waiting for a job's end without polling: the commit that writes the end wakes its waiters.

extension SQLiteJobStore {
  public func finished(_ id: JobID) async throws(JobStoreError) -> JobRecord {
    if Task.isCancelled { throw .cancelled }
    let end = Promise<Result<JobRecord, JobStoreError>>(on: loop)
    finishWaiters[id, default: [:]][ObjectIdentifier(end)] = end
    defer { forget(end, of: id) }
    whenLoaded(id) { loaded in
      // What the disk says when the wait begins.
      switch loaded {
      case .success(nil): end.resolve(.failure(.notFound(id)))
      case .success(let record?): if record.status.isFinal { end.resolve(.success(record)) }
      case .failure(let error): end.resolve(.failure(error))
      }
    }
    guard let result = await end.valueUnlessCancelled() else { throw .cancelled }
    return try result.get()
  }

  func wake(_ id: JobID, _ result: Result<JobRecord, JobStoreError>) {
    for end in (finishWaiters.removeValue(forKey: id) ?? [:]).values { end.resolve(result) }
  }

  private func forget(_ end: Promise<Result<JobRecord, JobStoreError>>, of id: JobID) {
    finishWaiters[id]?[ObjectIdentifier(end)] = nil
    if finishWaiters[id]?.isEmpty == true { finishWaiters[id] = nil }
  }
}
