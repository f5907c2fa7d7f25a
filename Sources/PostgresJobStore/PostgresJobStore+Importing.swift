import EventLoop
import Supervisor

// Jobs of another store come in beside the nodes that use this one, also for runners that these own: the session of an
// import creates them (`Options.createsForOwners`), and the owners are told afterwards.

extension PostgresJobStore {
  /// Records jobs as another store had them; queued ones stand in line in this order.
  /// - Returns: for each what `create` says.
  public func importJobs(_ jobs: [ExportedJob]) async -> [Result<JobCreation, JobStoreError>] {
    // On the loop tasks begin in their order, and steps of one transaction keep theirs.
    await withTaskGroup(of: (Int, Result<JobCreation, JobStoreError>).self) { group in
      for (number, job) in jobs.enumerated() {
        group.addTask(executorPreference: loop) {
          do throws(JobStoreError) {
            return (number, .success(try await self.create(job.record, output: job.output)))
          } catch {
            return (number, .failure(error))
          }
        }
      }
      var results: [(Int, Result<JobCreation, JobStoreError>)] = []
      for await result in group { results.append(result) }
      return results.sorted { $0.0 < $1.0 }.map(\.1)
    }
  }

  /// Has the owners of runners look at their lines, in which there are jobs that they did not queue. One that does not
  /// hear of it looks when it takes the runner over.
  public func tellOwners(of runners: Set<RunnerName>) async {
    news.queued.formUnion(runners)
    await tell()
  }
}
