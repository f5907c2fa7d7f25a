/// A store of one node's own. When a runner changes its owner, its jobs go from one such store to another
/// (`JobTransfer.swift`).
public protocol EmbeddedJobStore: JobStore {
  /// Keeps jobs that were offered, apart from those of the node: no list, read or count shows them.
  /// - Throws: `unavailable`; then none is kept.
  func keep(_ jobs: [IncomingJob]) async throws(JobStoreError)

  /// Forgets a job and writes down to whom it was moved, in one transaction.
  ///
  /// - Parameters:
  ///   - status: which the job must have.
  ///   - attempt: how often it must have been started.
  /// - Throws: `wrongState` or `notFound` when it is not as it was offered, `unavailable`; then nothing was written.
  func move(_ job: MovedJob, from status: JobStatus, attempt: Int) async throws(JobStoreError)

  /// Makes a job that was kept the node's own, as it was offered, with its position, in one transaction.
  /// - Returns: `.existed` with the present record when the node has the same job already; then nothing was written.
  /// - Throws: `conflict` when the id belongs to a job with other fields; `unavailable`.
  func admit(_ job: IncomingJob) async throws(JobStoreError) -> JobCreation

  /// Forgets jobs that were kept and stay with their giver.
  func drop(_ transfers: [TransferID]) async throws(JobStoreError)

  /// Forgets that jobs were moved: their receiver has them.
  func forgetMoved(_ transfers: [TransferID]) async throws(JobStoreError)

  /// Jobs of a runner that wait in its queue, in order.
  func waiting(of runner: RunnerName, limit: Int) async throws(JobStoreError) -> [JobID]

  /// Forgets a runner that has another owner; not one that has come back meanwhile.
  func forgetDeparted(_ runner: RunnerName) async throws(JobStoreError)

  /// What is kept, and what was moved and not forgotten.
  func transfers() async throws(JobStoreError) -> (incoming: [IncomingJob], moved: [MovedJob])
}
