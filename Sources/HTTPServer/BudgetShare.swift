// How a budget is shared by the connections of a server. A lock, since handlers take room from whatever task they run in;
// on one loop it is never contended, and small requests and answers do not come near it.
import Synchronization

/// A budget of the server with its holders.
final class SharedBudget: Sendable {
  private let budget: Mutex<ByteBudget>

  init(limit: Int, strangerLimit: Int) {
    budget = Mutex(ByteBudget(limit: limit, strangerLimit: strangerLimit))
  }

  var now: ByteBudget { budget.withLock { $0 } }

  func replace(_ old: ByteBudget.Holding, by new: ByteBudget.Holding) -> Bool {
    budget.withLock { $0.replace(old, by: new) }
  }
}

/// What one holder has of a budget. It goes back with the last reference at the latest, whatever ended the holder.
public final class BudgetShare: Sendable {
  private let budget: SharedBudget
  /// What the same holder has of another budget.
  private let companion: BudgetShare?
  private let holding = Mutex(ByteBudget.Holding.none)
  /// Whether nothing is held, by nobody known: what almost every request finds and leaves, without the lock.
  private let isUntouched = Atomic(true)

  init(of budget: SharedBudget, with companion: BudgetShare? = nil) {
    self.budget = budget
    self.companion = companion
  }

  deinit {
    let rest = holding.withLock { $0 }
    if rest.bytes > 0 { _ = budget.replace(rest, by: .none) }
  }

  /// Bytes held now.
  public var bytes: Int { holding.withLock { $0.bytes } }

  /// Whether its holder has shown a valid key.
  public var isKnown: Bool { holding.withLock { $0.isKnown } }

  /// Holds so many bytes more.
  /// - Returns: whether there was room; if not, nothing has changed.
  public func take(_ bytes: Int) -> Bool { change { $0.bytes += bytes } }

  /// Holds so many bytes less.
  public func giveBack(_ bytes: Int) { _ = change { $0.bytes -= bytes } }

  /// Moves what the holder has, and will have, to those who have shown a valid key.
  public func showKey() {
    // It is room for the same bytes: there is as much there as here.
    _ = change { $0.isKnown = true }
    companion?.showKey()
  }

  /// Holds exactly that much.
  /// - Returns: whether there was room; if not, nothing has changed.
  func hold(_ bytes: Int, isKnown: Bool) -> Bool {
    if bytes == 0, !isKnown, isUntouched.load(ordering: .acquiring) { return true }
    return change { $0 = ByteBudget.Holding(bytes: bytes, isKnown: isKnown) }
  }

  /// Holds exactly so many bytes, for the same holder.
  func hold(_ bytes: Int) -> Bool {
    if bytes == 0, isUntouched.load(ordering: .acquiring) { return true }
    return change { $0.bytes = bytes }
  }

  private func change(_ body: (inout ByteBudget.Holding) -> Void) -> Bool {
    holding.withLock { holding in
      var wanted = holding
      body(&wanted)
      if wanted == holding { return true }
      if wanted.bytes > 0 || holding.bytes > 0 {
        guard budget.replace(holding, by: wanted) else { return false }
      }
      holding = wanted
      isUntouched.store(wanted == .none, ordering: .releasing)
      return true
    }
  }
}
