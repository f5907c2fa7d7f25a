import CLibPQ

/// What one statement answered, in binary format; columns by number.
final class QueryResult: @unchecked Sendable {
  // @unchecked: the PGresult is never changed after libpq has made it, and freed once.

  private let result: OpaquePointer

  init(owning result: OpaquePointer) { self.result = result }
  deinit { PQclear(result) }

  var count: Int { Int(PQntuples(result)) }
  var columns: Int { Int(PQnfields(result)) }
  /// Rows that an INSERT, UPDATE or DELETE touched.
  var affected: Int { Int(String(cString: PQcmdTuples(result))) ?? 0 }
  var rows: some Sequence<Row> { (0..<count).lazy.map { Row(result: self, number: Int32($0)) } }
  var first: Row? { count > 0 ? Row(result: self, number: 0) : nil }

  struct Row {
    let result: QueryResult
    let number: Int32

    private func bytes(_ column: Int) -> UnsafeRawBufferPointer? {
      let column = Int32(column)
      guard PQgetisnull(result.result, number, column) == 0 else { return nil }
      return UnsafeRawBufferPointer(
        start: PQgetvalue(result.result, number, column), count: Int(PQgetlength(result.result, number, column)))
    }

    private func number<Number: FixedWidthInteger>(_ column: Int) -> Number? {
      guard let bytes = bytes(column) else { return nil }
      precondition(bytes.count == MemoryLayout<Number>.size, "column \(column) has \(bytes.count) bytes")
      return Number(bigEndian: bytes.loadUnaligned(as: Number.self))
    }

    func text(_ column: Int) -> String? { bytes(column).map { String(decoding: $0, as: UTF8.self) } }
    func data(_ column: Int) -> [UInt8]? { bytes(column).map(Array.init) }
    func size(_ column: Int) -> Int { bytes(column)?.count ?? 0 }
    /// BIGINT
    func int(_ column: Int) -> Int64? { number(column) }
    func bool(_ column: Int) -> Bool? { bytes(column).map { $0[0] != 0 } }
    /// DOUBLE PRECISION
    func double(_ column: Int) -> Double? { (number(column) as UInt64?).map(Double.init(bitPattern:)) }
    /// TIMESTAMPTZ, in milliseconds since 1970.
    func time(_ column: Int) -> Int64? { int(column).map { $0 / 1000 + Parameter.epochMilliseconds } }
  }
}
