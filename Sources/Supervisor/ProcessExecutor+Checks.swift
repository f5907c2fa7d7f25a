// What no process can be given is refused before the job exists: found when it runs, it would be a failure of the job.

extension ProcessExecutor {
  /// Whether a process can be given the fields of a job.
  /// - Parameter variables: all that the process would get.
  /// - Throws: `SupervisorError.invalidJob` with the field and what it must be.
  func check(_ job: Job, _ variables: [VariableName: String]) throws(SupervisorError) {
    if configuration.payload == .argument { try Self.check("payload", job.payload, "an argument") }
    try Self.check("caller_id", job.callerID, "an environment variable", named: Job.callerVariable)
    try Self.check("context_id", job.contextID, "an environment variable", named: Job.contextVariable)
    for (name, value) in job.environment {
      // Another node may still let in what the API of this one refuses.
      let bytes = name.rawValue.utf8
      if bytes.isEmpty || bytes.contains(UInt8(ascii: "=")) || bytes.contains(0) {
        throw .invalidJob(field: "env_vars", reason: "names must not be empty or contain '=' or NUL")
      }
      try Self.check("env_vars.\(name)", value, "an environment variable", named: name)
    }
    let words = command(for: job, payloadFile: nil)
    guard words.allSatisfy({ $0.utf8.count < ArgumentRoom.stringBytes }) else {
      throw .invalidJob(
        field: "payload",
        reason: "must be shorter: an argument with it would have more than \(ArgumentRoom.stringBytes - 1) bytes")
    }
    let arguments = words.reduce(0) { $0 + ArgumentRoom.size($1) }
    let all = variables.reduce(arguments) { $0 + ArgumentRoom.size($1.key.rawValue) + ArgumentRoom.size($1.value) }
    let room = ArgumentRoom().bytes
    guard all > room else { return }
    let shares = [
      ("env_vars", job.environment.values.reduce(0) { $0 + ArgumentRoom.size($1) }),
      ("caller_id", job.callerID.utf8.count), ("context_id", job.contextID.utf8.count),
      ("payload", configuration.payload == .argument ? arguments : 0),
    ]
    throw .invalidJob(
      field: shares.max { $0.1 < $1.1 }!.0,
      reason: "must be smaller: a process can be given \(room) bytes of arguments and variables, and these are \(all)")
  }

  private static func check(
    _ field: String, _ text: String, _ what: String, named name: VariableName? = nil
  ) throws(SupervisorError) {
    if text.utf8.contains(0) { throw .invalidJob(field: field, reason: "must not contain NUL, it becomes \(what)") }
    // `NAME=`, and the NUL at the end.
    let longest = ArgumentRoom.stringBytes - 1 - (name.map { $0.rawValue.utf8.count + 1 } ?? 0)
    if text.utf8.count > longest {
      throw .invalidJob(field: field, reason: "must be at most \(longest) bytes, it becomes \(what)")
    }
  }
}

extension Job {
  /// The variables that a process finds `callerID` and `contextID` in.
  static let callerVariable = VariableName(trusted: "HERO_CALLER_ID")
  static let contextVariable = VariableName(trusted: "HERO_CONTEXT_ID")
}
