/// The header fields of a request as they came: one block of bytes, looked up without case.
///
/// Nothing is decoded until it is asked for. A lookup walks the few lines of a head, which is cheaper than building a
/// dictionary of strings for each request.
///
/// ```swift
/// if request.headers.isMediaType("application/json") { … }
/// let key = request.headers["authorization"]
/// ```
public struct HTTPHeaders: Sendable {
  /// `name: value CRLF` lines, checked by `RequestHead`: every line has a colon and ends with CRLF, none is folded.
  let block: [UInt8]

  init(block: [UInt8]) {
    self.block = block
  }

  /// Makes header fields from pairs, for tests and for handlers that call other handlers.
  public init(_ fields: [(name: String, value: String)] = []) {
    var block: [UInt8] = []
    for field in fields {
      block.append(contentsOf: field.name.utf8)
      block.append(contentsOf: [58, 32])
      block.append(contentsOf: field.value.utf8)
      block.append(contentsOf: [13, 10])
    }
    self.block = block
  }

  /// The value of the first field with this name, without the blanks around it; invalid UTF-8 is repaired.
  public subscript(_ name: String) -> String? {
    block.withUnsafeBytes { bytes in
      var found: String?
      Self.walk(bytes) { field, value in
        guard Self.isEqual(bytes, field, name) else { return true }
        found = String(decoding: bytes[value], as: UTF8.self)
        return false
      }
      return found
    }
  }

  /// The values of all fields with this name, in the order they came.
  public func values(_ name: String) -> [String] {
    block.withUnsafeBytes { bytes in
      var found: [String] = []
      Self.walk(bytes) { field, value in
        if Self.isEqual(bytes, field, name) { found.append(String(decoding: bytes[value], as: UTF8.self)) }
        return true
      }
      return found
    }
  }

  /// Whether `Content-Type` names this media type, whatever its parameters (`; charset=utf-8`); allocates nothing.
  /// - Parameter type: in lower case, such as `application/json`.
  public func isMediaType(_ type: StaticString) -> Bool {
    block.withUnsafeBytes { bytes in
      var same = false
      Self.walk(bytes) { field, value in
        guard bytes.matches("content-type", in: field) else { return true }
        let end = bytes.firstOffset(of: 59, in: value) ?? value.upperBound
        same = bytes.matches(type, in: bytes.trimmed(value.lowerBound..<end))
        return false
      }
      return same
    }
  }

  /// All fields in the order they came, decoded: for logs and tests, not for the request path.
  public var fields: [(name: String, value: String)] {
    block.withUnsafeBytes { bytes in
      var found: [(name: String, value: String)] = []
      Self.walk(bytes) { field, value in
        found.append((String(decoding: bytes[field], as: UTF8.self), String(decoding: bytes[value], as: UTF8.self)))
        return true
      }
      return found
    }
  }

  /// Calls `body` with each field's name and trimmed value until it returns false.
  private static func walk(_ bytes: UnsafeRawBufferPointer, _ body: (Range<Int>, Range<Int>) -> Bool) {
    var start = 0
    while start < bytes.count {
      guard let end = bytes.firstOffset(of: .lineFeed, in: start..<bytes.count),
        let colon = bytes.firstOffset(of: .colon, in: start..<end)
      else { return }
      guard body(start..<colon, bytes.trimmed(colon + 1..<end - 1)) else { return }
      start = end + 1
    }
  }

  private static func isEqual(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ name: String) -> Bool {
    let name = name.utf8
    guard range.count == name.count else { return false }
    var offset = range.lowerBound
    for byte in name {
      guard bytes[offset].asciiLowercased == byte.asciiLowercased else { return false }
      offset += 1
    }
    return true
  }
}
