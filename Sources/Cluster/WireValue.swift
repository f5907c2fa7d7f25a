// Arguments and answers of distributed calls as bytes. Written by hand instead of by Codable, whose containers cost more
// than the rest of a forwarded call. All numbers are big-endian; a string or an array is its count in four bytes, then
// its contents; an optional is one byte, then the value if there is one.

/// What can be an argument or an answer of a distributed call.
public protocol WireValue: Sendable {
  func encode(into writer: inout WireWriter)
  /// - Throws: `MalformedWire`, whatever the bytes are.
  init(from reader: inout WireReader) throws(MalformedWire)
}

/// An error that keeps its type on its way through a peer link.
public protocol WireError: Error, WireValue {}

/// Why bytes are not what they were taken for.
public struct MalformedWire: Error, Hashable, Sendable {
  public let reason: String
  public init(_ reason: String) { self.reason = reason }
}

public struct WireWriter: Sendable {
  public private(set) var bytes: [UInt8] = []

  public init() {}

  public mutating func addInteger(_ integer: some FixedWidthInteger) {
    withUnsafeBytes(of: integer.bigEndian) { bytes.append(contentsOf: $0) }
  }
  public mutating func add(_ value: some WireValue) { value.encode(into: &self) }
  public mutating func addRaw(_ raw: some Collection<UInt8>) { bytes.append(contentsOf: raw) }
}

public struct WireReader: Sendable {
  private let bytes: [UInt8]
  private var position: Int

  public init(_ bytes: [UInt8], from position: Int = 0) {
    self.bytes = bytes
    self.position = position
  }

  public var remaining: Int { bytes.count - position }

  public mutating func integer<I: FixedWidthInteger>(_ type: I.Type = I.self) throws(MalformedWire) -> I {
    let size = MemoryLayout<I>.size
    guard remaining >= size else { throw MalformedWire("cut short") }
    defer { position += size }
    return bytes.withUnsafeBytes { I(bigEndian: $0.loadUnaligned(fromByteOffset: position, as: I.self)) }
  }

  public mutating func value<Value: WireValue>(_ type: Value.Type = Value.self) throws(MalformedWire) -> Value {
    try Value(from: &self)
  }

  public mutating func raw(_ count: Int) throws(MalformedWire) -> ArraySlice<UInt8> {
    guard count >= 0, remaining >= count else { throw MalformedWire("cut short") }
    defer { position += count }
    return bytes[position..<(position + count)]
  }

  /// A count of things of which each takes at least `size` bytes: one that cannot be true is refused before memory is
  /// taken for it.
  mutating func count(ofAtLeast size: Int) throws(MalformedWire) -> Int {
    let count = Int(try integer(UInt32.self))
    guard count * size <= remaining else { throw MalformedWire("a count beyond the end") }
    return count
  }

  /// Nothing may follow.
  public func finish() throws(MalformedWire) {
    guard remaining == 0 else { throw MalformedWire("bytes after the end") }
  }
}

extension WireValue {
  /// Alone, as a message.
  public var wireBytes: [UInt8] {
    var writer = WireWriter()
    encode(into: &writer)
    return writer.bytes
  }

  /// - Throws: `MalformedWire` when the bytes are something else, or more than this.
  public init(wireBytes: [UInt8]) throws(MalformedWire) {
    var reader = WireReader(wireBytes)
    try self.init(from: &reader)
    try reader.finish()
  }
}

// MARK: Values of the standard library

extension Bool: WireValue {
  public func encode(into writer: inout WireWriter) { writer.addInteger(self ? 1 : 0 as UInt8) }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    let byte: UInt8 = try reader.integer()
    guard byte <= 1 else { throw MalformedWire("not a truth value") }
    self = byte == 1
  }
}

extension Int: WireValue {
  public func encode(into writer: inout WireWriter) { writer.addInteger(Int64(self)) }
  public init(from reader: inout WireReader) throws(MalformedWire) { self = Int(try reader.integer(Int64.self)) }
}

extension UInt64: WireValue {
  public func encode(into writer: inout WireWriter) { writer.addInteger(self) }
  public init(from reader: inout WireReader) throws(MalformedWire) { self = try reader.integer() }
}

extension Double: WireValue {
  public func encode(into writer: inout WireWriter) { writer.addInteger(bitPattern) }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self.init(bitPattern: try reader.integer())
  }
}

extension String: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.addInteger(UInt32(utf8.count))
    writer.addRaw(utf8)
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    let count = try reader.count(ofAtLeast: 1)
    guard let text = String(validating: try reader.raw(count), as: UTF8.self) else {
      throw MalformedWire("invalid UTF-8")
    }
    self = text
  }
}

extension Optional: WireValue where Wrapped: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(self != nil)
    if let self { writer.add(self) }
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    self = try reader.value(Bool.self) ? try reader.value(Wrapped.self) : nil
  }
}

extension Array: WireValue where Element: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.addInteger(UInt32(count))
    for element in self { writer.add(element) }
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    let count = try reader.count(ofAtLeast: 1)
    self = []
    reserveCapacity(Swift.min(count, 4096))
    for _ in 0..<count { append(try reader.value()) }
  }
}

/// Bytes as they are.
public struct WireBytes: WireValue, Hashable {
  public var bytes: [UInt8]
  public init(_ bytes: [UInt8]) { self.bytes = bytes }

  public func encode(into writer: inout WireWriter) {
    writer.addInteger(UInt32(bytes.count))
    writer.addRaw(bytes)
  }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    bytes = Array(try reader.raw(Int(try reader.integer(UInt32.self))))
  }
}
