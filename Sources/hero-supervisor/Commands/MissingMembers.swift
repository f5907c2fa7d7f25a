import SupervisorClient

/// What a person must know beside an answer about the whole cluster: whose part is not in it. On standard error, so that
/// scripts that read standard output get what there is.
struct MissingMembers {
  private var names: [String] = []

  /// Notes what an answer is missing; each member is told of once.
  mutating func add(_ answer: SupervisorClient.Answer) {
    for name in answer.unreachable where !names.contains(name) { names.append(name) }
  }

  /// - Parameters:
  ///   - one: completes "n3 cannot be reached; …".
  ///   - several: completes "n3, n4 cannot be reached; …".
  func warn(one: String = "what it has is missing", several: String = "what they have is missing") {
    guard !names.isEmpty else { return }
    let list = names.joined(separator: ", ").printable()
    StandardStreams.error("warning: \(list) cannot be reached; \(names.count == 1 ? one : several)\n")
  }
}

extension SupervisorClient.Answer {
  /// The result of a list, once the user was told what is missing in it.
  func warningOfMissing() -> SupervisorClient.Answer {
    var missing = MissingMembers()
    missing.add(self)
    missing.warn()
    return self
  }
}
