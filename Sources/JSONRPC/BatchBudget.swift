import Synchronization

// The members of a batch may all be ready at the same time. Without this, each would write its answer, up to the limit
// for one, before the first is looked at: a short request would cost a thousand times `max_response_bytes`.

/// How many bytes the answers of one batch may still take.
final class BatchBudget: Sendable {
  private let rest: Atomic<Int>

  init(bytes: Int) { rest = Atomic(bytes) }

  /// The batch is too big already.
  var isSpent: Bool { rest.load(ordering: .relaxed) < 0 }

  func spend(_ bytes: Int) { rest.subtract(bytes, ordering: .relaxed) }
}
