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
  /// The store refused.
  case store(JobStoreError)
}

/// Runs `body` and states what the store threw as an error of the domain.
func storing<Value>(
  _ body: () async throws(JobStoreError) -> Value
) async throws(SupervisorError) -> Value {
  do { return try await body() } catch { throw .store(error) }
}
