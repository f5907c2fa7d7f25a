// What is bound to a statement, in PostgreSQL's binary format (PostgreSQL documentation, "Message Data Types" and the
// send and receive functions of each type): a payload may hold any byte, and nothing needs quoting.

/// A value for a parameter, or one array for a column of many rows.
struct Parameter: Sendable {
  /// The type's object identifier (catalog pg_type), the same in every server.
  let type: UInt32
  /// `nil` for NULL.
  let bytes: [UInt8]?

  static func text(_ value: String?) -> Parameter { Parameter(type: 25, bytes: value.map { Array($0.utf8) }) }
  static func data(_ value: [UInt8]?) -> Parameter { Parameter(type: 17, bytes: value) }
  static func int(_ value: Int64?) -> Parameter { Parameter(type: 20, bytes: value.map(bigEndian)) }
  static func bool(_ value: Bool) -> Parameter { Parameter(type: 16, bytes: [value ? 1 : 0]) }
  static func double(_ value: Double) -> Parameter { Parameter(type: 701, bytes: bigEndian(value.bitPattern)) }
  /// Milliseconds since 1970.
  static func time(_ value: Int64?) -> Parameter { Parameter(type: 1184, bytes: value.map(timeBytes)) }

  static func texts(_ values: [String?]) -> Parameter { array(1009, of: 25, values) { Array($0.utf8) } }
  static func datas(_ values: [[UInt8]?]) -> Parameter { array(1001, of: 17, values) { $0 } }
  static func ints(_ values: [Int64?]) -> Parameter { array(1016, of: 20, values, bigEndian) }
  static func bools(_ values: [Bool?]) -> Parameter { array(1000, of: 16, values) { [$0 ? 1 : 0] } }
  static func doubles(_ values: [Double]) -> Parameter { array(1022, of: 701, values) { bigEndian($0.bitPattern) } }
  static func times(_ values: [Int64?]) -> Parameter { array(1185, of: 1184, values, timeBytes) }

  /// One dimension, counted from 1.
  private static func array<Value>(
    _ type: UInt32, of element: UInt32, _ values: [Value?], _ encode: (Value) -> [UInt8]
  ) -> Parameter {
    guard !values.isEmpty else {
      return Parameter(type: type, bytes: bigEndian(Int32(0)) + bigEndian(Int32(0)) + bigEndian(element))
    }
    var bytes: [UInt8] = []
    for word in [1, values.contains { $0 == nil } ? 1 : 0] as [Int32] { bytes += bigEndian(word) }
    bytes += bigEndian(element) + bigEndian(Int32(values.count)) + bigEndian(Int32(1))
    for value in values {
      guard let value else {
        bytes += bigEndian(Int32(-1))
        continue
      }
      let encoded = encode(value)
      bytes += bigEndian(Int32(encoded.count)) + encoded
    }
    return Parameter(type: type, bytes: bytes)
  }

  private static func bigEndian<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian, Array.init)
  }

  /// 2000-01-01, from which PostgreSQL counts microseconds, in milliseconds since 1970.
  static let epochMilliseconds: Int64 = 946_684_800_000
  private static func timeBytes(_ milliseconds: Int64) -> [UInt8] {
    bigEndian((milliseconds - epochMilliseconds) &* 1000)
  }
}

/// One statement of a transaction.
struct Statement: Sendable {
  /// Under which it is prepared once on each connection; `nil` plans it anew each time, with its parameters known.
  var name: String?
  var sql: String
  var parameters: [Parameter] = []

  static let begin = Statement(name: "begin", sql: "BEGIN")
  static let commit = Statement(name: "commit", sql: "COMMIT")
  /// What a fence calls itself in the database's log.
  static let fenceName = "hero-supervisor fence"

  /// A statement that fails, and ends its transaction, when a query finds no row: with SQLSTATE 22P02, and a message that
  /// says which fence it was. Standard SQL has no statement that raises an error; a text that is no number does.
  static func fence(name: String? = nil, _ reason: String, unless query: String, _ parameters: [Parameter]) -> Statement
  {
    Statement(
      name: name,
      sql: """
        SELECT CASE WHEN count(*) > 0 THEN 1
          ELSE CAST('\(fenceName): \(reason) ' || CAST(count(*) AS TEXT) AS BIGINT) END FROM (\(query)) AS fence
        """, parameters: parameters)
  }

  static let rollback = Statement(name: nil, sql: "ROLLBACK")
}
