// Which calls may be made twice. A connection that is lost under way leaves open whether the node carried the call out, and
// a node that answers "not now" or "not from here" may have carried out a part. Such a call is made again, at the next
// endpoint, only when the second time can do no harm; else the caller decides, who knows what it was for.

/// The one place that says it, method by method.
enum SafeCalls {
  /// Whether the method may be called again without knowing what became of the first time.
  static func contains(_ method: String) -> Bool { methods[method]?.isSafe ?? false }

  /// Whether there is a row for the method; those of the contract all have one.
  static func knows(_ method: String) -> Bool { methods[method] != nil }

  /// Whether the answer may take as long as a job does, so that silence means nothing. Of a method that is not known here
  /// nobody knows it.
  static func waits(_ method: String) -> Bool { methods[method].map { _ in waiting.contains(method) } ?? true }

  private enum Repetition {
    /// It changes nothing.
    case reads
    /// It names what it makes: the second time finds that and answers the same.
    case namesWhatItMakes
    /// The second time could do harm, or would be refused although the first was not.
    case once

    var isSafe: Bool { self != .once }
  }

  private static let methods: [String: Repetition] = [
    "list_runners": .reads, "get_runner_status": .reads, "get_all_runner_status": .reads, "get_all_status": .reads,
    "jobs.list": .reads, "jobs.query": .reads, "job.status": .reads, "job.logs": .reads,
    "job.result": .reads,  // It waits, and may wait elsewhere.
    "cluster.members": .reads, "cluster.status": .reads, "key.list": .reads, "rpc.discover": .reads,

    "jobs.create": .namesWhatItMakes,  // The job's id: the same job again answers its id.
    // The job's id: a queued or running job stays as it is, and a finished one is refused, never run again.
    "job.start": .namesWhatItMakes,
    "register_runner": .namesWhatItMakes,  // The runner's name: with the same queue it changes nothing.

    // A new owner of the runner may not know that the job runs already: it is asked for by its id instead (`JobWait`).
    "job.run": .once,
    // Refused the second time, since the job has ended.
    "job.stop": .once,
    // The id is free again: the second time could hit another job that was given it meanwhile.
    "job.delete": .once,
    // So is the runner's name.
    "remove_runner": .once,
    // The second time could undo what someone else did meanwhile; a stop may have waited for hours.
    "start_runner": .once, "stop_runner": .once, "start_all": .once, "stop_all": .once,
    "node.drain": .once, "runner.move": .once,
    // Refused the second time, since the node is forgotten.
    "cluster.forget": .once,
    // Refused the second time, and the key of the first is known to nobody.
    "key.create": .once,
    // Its name may be another key's meanwhile.
    "key.revoke": .once,
    // About the node that is asked, and no other.
    "store.confirm_clock": .once,
  ]

  /// Those that wait for jobs to end.
  private static let waiting: Set<String> = [
    "job.run", "job.result", "job.stop", "stop_runner", "stop_all", "remove_runner", "node.drain", "runner.move",
  ]
}
