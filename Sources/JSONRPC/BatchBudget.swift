import Synchronization

// The members of a batch may all be ready at the same time. Without this, a short request would have an answer of a
// thousand times `max_response_bytes`.

/// How many bytes the answers of one batch may still take. Errors count for nothing: they are small, and each id has its
/// answer.
final class BatchBudget: Sendable {
  private let bytes: Int
  private let taken = Mutex(0)

  init(bytes: Int) { self.bytes = bytes }

  /// What the answers take so far.
  var spent: Int { taken.withLock { $0 } }

  /// What may still be written.
  var rest: Int { max(0, bytes - spent) }

  /// Takes so much for an answer.
  /// - Returns: whether it fits; if not, nothing has changed.
  func take(_ more: Int) -> Bool {
    taken.withLock { taken in
      guard more <= bytes - taken else { return false }
      taken += more
      return true
    }
  }
}
