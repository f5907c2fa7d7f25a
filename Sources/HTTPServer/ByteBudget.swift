/// How many bytes the server holds for its clients, and for whom: one bound for all, and a smaller one within it for
/// those who have shown no valid key.
///
/// A holder replaces what it holds by what it wants to hold, which either succeeds as a whole or changes nothing. To give
/// back is to hold nothing, and is never refused.
///
/// ```swift
/// var budget = ByteBudget(limit: 256 << 20, strangerLimit: 16 << 20)
/// var held = ByteBudget.Holding.none
/// let wanted = ByteBudget.Holding(bytes: 100_000, isKnown: false)
/// if budget.replace(held, by: wanted) { held = wanted }
/// ```
public struct ByteBudget: Sendable {
  /// What one holder has of a budget.
  public struct Holding: Hashable, Sendable {
    public var bytes = 0
    /// Whether the holder has shown a valid key.
    public var isKnown = false

    public init(bytes: Int = 0, isKnown: Bool = false) {
      self.bytes = bytes
      self.isKnown = isKnown
    }

    public static let none = Holding()
  }

  /// Bytes that may be held in all.
  public let limit: Int
  /// Bytes that strangers may hold together; at most `limit`.
  public let strangerLimit: Int
  /// Bytes held by those who have shown a valid key.
  public private(set) var known = 0
  /// Bytes held by all others.
  public private(set) var strangers = 0
  /// How often a holder who has shown a key was refused.
  public private(set) var refusedKnown: UInt64 = 0
  /// How often another was.
  public private(set) var refusedStrangers: UInt64 = 0
  /// How often anybody was.
  public var refusals: UInt64 { refusedKnown + refusedStrangers }

  public init(limit: Int, strangerLimit: Int) {
    self.limit = limit
    self.strangerLimit = min(strangerLimit, limit)
  }

  /// Replaces what a holder has by what it wants.
  /// - Parameter old: what the last successful call gave this holder.
  /// - Returns: whether there was room; if not, the holder still has `old`.
  public mutating func replace(_ old: Holding, by new: Holding) -> Bool {
    precondition(new.bytes >= 0 && old.bytes <= (old.isKnown ? known : strangers), "bytes that were never reserved")
    add(old, -1)
    let room = min(limit - known - strangers, new.isKnown ? limit : strangerLimit - strangers)
    guard new.bytes <= room else {
      add(old, 1)
      if new.isKnown { refusedKnown += 1 } else { refusedStrangers += 1 }
      return false
    }
    add(new, 1)
    return true
  }

  private mutating func add(_ holding: Holding, _ sign: Int) {
    if holding.isKnown { known += sign * holding.bytes } else { strangers += sign * holding.bytes }
  }
}
