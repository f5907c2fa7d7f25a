/// Why the domain refuses a call. `SupervisorAPI` turns these into JSON-RPC errors, in one place.
public enum SupervisorError: Error, Hashable, Sendable {
  /// No runner of this name is registered.
  case runnerNotFound(RunnerName)
  /// The runner is registered with another queue.
  case queueConflict(RunnerName, QueueName)
  /// The call is not possible in the runner's present state; the reason in words.
  case runnerState(RunnerName, RunnerState, String)
  /// The runner may not use this executor, or the node has none of that name; those that it may use.
  case executorNotAllowed(ExecutorName, RunnerName, allowed: [ExecutorName])
  /// A field of the job cannot be handed to its executor; the reason in words.
  case invalidJob(field: String, reason: String)
  /// The node is stopping and takes no more work.
  case draining
  /// The node has not joined its cluster yet.
  case joining
  /// The node that was to be asked cannot be reached at present: nothing was asked.
  case nodeNotReached(NodeName, String)
  /// The node was lost while the call was under way, or did not answer in time: what became of it there is not known.
  case callLost(NodeName, String)
  /// The owner of a runner, or the nodes on which a job may be, cannot be reached; what was asked for, in words.
  case ownerUnreachable([NodeName], String)
  /// The job is on its way to this node, the new owner of its runner.
  case moving(JobID, to: NodeName)
  /// There is no such node in the cluster, or none that could take over; the reason in words.
  case nodeUnavailable(NodeName?, String)
  /// The job is none of those that the call may concern (`JobScope`): for the caller there is no such job.
  case outOfScope(JobID)
  /// The store refused.
  case store(JobStoreError)
}

/// Runs `body` and states what the store threw as an error of the domain.
func storing<Value>(
  _ body: () async throws(JobStoreError) -> Value
) async throws(SupervisorError) -> Value {
  do { return try await body() } catch { throw .store(error) }
}
