import ExactText
import Gossip
import Supervisor
import Synchronization

/// The keys that were made at run time, found by the hash of a key. A copy of the records (`RecordKeeper`), which every
/// request may look into.
public final class KeyDirectory: Sendable {
  /// What is known of a key that somebody showed.
  enum Finding: Hashable, Sendable {
    case valid(KeyName, CreatedKey)
    case expired(KeyName)
    case revoked(KeyName)
  }

  private struct Entry {
    let name: KeyName
    let key: CreatedKey
    let isRevoked: Bool
  }

  private struct Keys {
    var byHash: [[UInt8]: Entry] = [:]
    /// The hash that a name stands for, to take it out when the name gets another key.
    var hashes: [ExactText: [UInt8]] = [:]
    var hasRecords = false
  }

  // A lock, because requests are judged in whatever task they run in; it is never contended on one loop.
  private let keys = Mutex(Keys())

  public init() {}

  /// The rules of its records, for `RecordKeeper`.
  public static let rules = RecordRules([CreatedKey.kind: CreatedKey.rule])

  /// Learns a record, of whatever kind.
  public func learn(_ record: Record) {
    guard record.kind == CreatedKey.kind else { return }
    keys.withLock { keys in
      keys.hasRecords = true
      if let old = keys.hashes.removeValue(forKey: record.name) { keys.byHash[old] = nil }
      guard let name = try? KeyName(record.name.rawValue), let key = CreatedKey(body: record.body) else { return }
      keys.byHash[key.hash] = Entry(name: name, key: key, isRevoked: record.isRemoved)
      keys.hashes[record.name] = key.hash
    }
  }

  /// Whether a key was ever made, also when it was revoked since: to take back a key must not open the node.
  var hasEverHadKeys: Bool { keys.withLock { $0.hasRecords } }

  /// Looks a key up. What is compared is its hash, so the time that it takes says nothing of the keys.
  func find(_ secret: String, at now: Timestamp = .now) -> Finding? {
    guard hasEverHadKeys else { return nil }
    let hash = CreatedKey.hash(of: secret)
    guard let entry = keys.withLock({ $0.byHash[hash] }) else { return nil }
    if entry.isRevoked { return .revoked(entry.name) }
    if let end = entry.key.expiresAt, end <= now { return .expired(entry.name) }
    return .valid(entry.name, entry.key)
  }

  /// How many keys are in which state.
  var counts: (valid: Int, expired: Int, revoked: Int) {
    let now = Timestamp.now
    return keys.withLock { keys in
      keys.byHash.values.reduce(into: (0, 0, 0)) { counts, entry in
        if entry.isRevoked {
          counts.2 += 1
        } else if let end = entry.key.expiresAt, end <= now {
          counts.1 += 1
        } else {
          counts.0 += 1
        }
      }
    }
  }
}
