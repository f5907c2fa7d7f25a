import ArgumentParser

/// How the program ends. Scripts rely on these; `--help` of `job run` lists them.
enum ExitStatus: Int32, Sendable {
  case success = 0
  /// The job failed; or, of another command, some of what was asked for did.
  case failed = 1
  /// The command line or the configuration is wrong.
  case usage = 2
  /// No node could be reached.
  case unreachable = 3
  /// The node refused: a JSON-RPC error.
  case refused = 4
  /// The job ran into its timeout, as with timeout(1).
  case timeout = 124
  /// Ctrl-C, as shells say it.
  case interrupted = 130
}

/// A failed command: what failed and where, what to do about it, and how the program ends.
struct CommandFailure: Error, Equatable {
  /// Completes "hero-supervisor: …".
  var message: String
  /// Sentences without a full stop, each on a line of its own below.
  var hints: [String] = []
  var status: ExitStatus
  /// The code of the JSON-RPC error, when a node refused.
  var code: Int?

  /// What standard error gets. What stands in it of a node or a job cannot look like a line of the program's own.
  var rendered: String {
    var text = "hero-supervisor: \(message.printableBelow)\n"
    for hint in hints { text += "  \(hint.printableBelow)\n" }
    return text
  }
}
