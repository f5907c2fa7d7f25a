import Synchronization

// The members of a batch may all be ready at the same time. Without this, each would write its answer, up to the limit
// for one, before the first is looked at: a short request would cost a thousand times `max_response_bytes`.

/// How many bytes the answers of one batch may still take.
final class BatchBudget: Sendable {
  private let bytes: Int
  private let taken = Atomic(0)

  init(bytes: Int) { self.bytes = bytes }

  /// What the answers take so far.
  var spent: Int { taken.load(ordering: .relaxed) }

  /// The batch is too big already.
  var isSpent: Bool { spent > bytes }

  func spend(_ bytes: Int) { taken.add(bytes, ordering: .relaxed) }
}
