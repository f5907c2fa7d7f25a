import ExactText
import Gossip
import Supervisor
import TLS

/// A key's name, by which logs and operators know it.
public struct KeyName: Name {
  public let rawValue: String
  public init(trusted: String) { rawValue = trusted }
}

/// A key that was made at run time, as every node of the cluster knows it: never the key itself.
struct CreatedKey: Hashable, Sendable {
  /// The kind of its record.
  static let kind = RecordKind(rawValue: 2)
  /// Longest names of runners together, each with one byte before it: what a record has room for.
  static let maximumRunnerBytes = Record.maximumBodyBytes - fixedBytes

  /// SHA-256 of the key. It has 256 random bits, so no slow hash is needed to keep it from being guessed.
  let hash: [UInt8]
  let scopes: Set<Scope>
  /// Whose jobs it may see and touch; `nil` for all.
  let runners: [RunnerName]?
  let createdAt: Timestamp
  let expiresAt: Timestamp?

  /// A key is gone for good by then, whatever a node's clock says: its record, and that of its revocation, need not be kept.
  var forgottenAt: Timestamp? { expiresAt.map { Timestamp(milliseconds: $0.milliseconds + Self.keptAfterExpiry) } }
  /// Whether its record is kept at least as long as that of another key.
  func isKept(asLongAs other: CreatedKey) -> Bool {
    guard let end = forgottenAt else { return true }
    return other.forgottenAt.map { $0 <= end } ?? false
  }
  /// In milliseconds: a week.
  private static let keptAfterExpiry: Int64 = 7 * 24 * 3_600_000

  /// Of its records: revoked keys are kept until the key would have expired, and for ever when it would not.
  static let rule = RecordRule(forgottenFrom: { record in
    CreatedKey(body: record.body)?.forgottenAt.map { UInt64(clamping: $0.milliseconds) }
  })

  static func hash(of secret: String) -> [UInt8] { SHA256.digest(Array(secret.utf8)) }
}

// The body of its record:
//
//   format (1)  SHA-256 (32)  scopes (1)  made at (8)  expires at, or 0 (8)  count of runners (1)  runners, each: length (1), name
//
// Times are milliseconds since 1970, numbers are big-endian.

extension CreatedKey {
  private static let format: UInt8 = 1
  private static let hashBytes = SHA256.digestBytes
  private static let fixedBytes = 1 + hashBytes + 1 + 8 + 8 + 1

  var body: [UInt8] {
    var bytes = [Self.format] + hash
    bytes.append(scopes.reduce(0) { $0 | $1.bit })
    for time in [createdAt.milliseconds, expiresAt?.milliseconds ?? 0] {
      withUnsafeBytes(of: time.bigEndian) { bytes.append(contentsOf: $0) }
    }
    bytes.append(UInt8(runners?.count ?? 0))
    for runner in runners ?? [] {
      bytes.append(UInt8(runner.rawValue.utf8.count))
      bytes += runner.rawValue.utf8
    }
    return bytes
  }

  /// - Returns: `nil` for what this program does not understand; such a record is kept all the same.
  init?(body: [UInt8]) {
    guard body.count >= Self.fixedBytes, body[0] == Self.format else { return nil }
    hash = Array(body[1...Self.hashBytes])
    let bits = body[1 + Self.hashBytes]
    scopes = Set(Scope.allCases.filter { bits & $0.bit != 0 })
    guard !scopes.isEmpty, scopes.reduce(0, { $0 | $1.bit }) == bits else { return nil }
    func time(_ place: Int) -> Int64 { body[place..<place + 8].reduce(0) { $0 << 8 | Int64($1) } }
    let (made, end) = (time(Self.fixedBytes - 17), time(Self.fixedBytes - 9))
    guard Self.dates.contains(made), Self.dates.contains(end) else { return nil }
    createdAt = Timestamp(milliseconds: made)
    expiresAt = end == 0 ? nil : Timestamp(milliseconds: end)
    var rest = body[Self.fixedBytes...]
    var names: [RunnerName] = []
    for _ in 0..<body[Self.fixedBytes - 1] {
      guard let count = rest.popFirst(), rest.count >= count,
        let text = String(validating: rest.prefix(Int(count)), as: UTF8.self), let name = try? RunnerName(text)
      else { return nil }
      names.append(name)
      rest = rest.dropFirst(Int(count))
    }
    guard rest.isEmpty else { return nil }
    runners = names.isEmpty ? nil : names
  }

  /// From 1970 to the year 9999, in milliseconds.
  private static let dates: ClosedRange<Int64> = 0...253_402_300_799_999
}

extension Scope {
  fileprivate var bit: UInt8 {
    switch self {
    case .admin: 1
    case .user: 2
    case .register: 4
    case .read: 8
    case .worker: 16
    }
  }
}
