import JSONRPC
import Supervisor

/// What whoever made a call may do.
struct Grant: Hashable, Sendable {
  /// Whose jobs may be seen and touched; `nil` for all.
  let runners: Set<RunnerName>?

  /// Nothing is held back.
  static let everything = Grant(runners: nil)

  /// What a call about a job takes with it.
  var jobs: JobScope { JobScope(runners: runners) }

  func allows(_ runner: RunnerName) -> Bool { runners?.contains(runner) ?? true }

  /// For a call that names a runner. It is refused in the same words whether or not there is such a runner.
  func require(_ runner: RunnerName) throws(JSONRPCError) {
    if !allows(runner) { throw .unauthorized("the key is limited to other runners than \"\(runner)\"") }
  }

  /// A key for some runners registers them in queues of the same names only: who shares a queue with others moves with them.
  func require(_ queue: QueueName) throws(JSONRPCError) {
    guard let runners, !runners.contains(where: { $0.rawValue.utf8.elementsEqual(queue.rawValue.utf8) }) else { return }
    throw .unauthorized("the key is limited to runners, and \"\(queue)\" is not a queue of their names")
  }

  /// For what tells of all runners, or of none.
  func requireAllRunners() throws(JSONRPCError) {
    if runners != nil { throw .unauthorized("the key is limited to some runners") }
  }
}
