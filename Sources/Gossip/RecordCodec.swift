import ExactText

// A record as bytes, in packets, in exchanges and on disk:
//
//   kind (1)  flags (1: removed)  version (8)  name  author  length of the body (2)  body

extension Record: Spreadable {
  /// With names of one byte and an empty body.
  static let smallestSize = 16
  /// With everything as long as it may be: it fits into the smallest packet, without a message.
  static let largestSize = smallestSize - 2 + maximumNameBytes + MemberName.maximumBytes + maximumBodyBytes

  var encodedSize: Int { Self.smallestSize - 2 + name.rawValue.utf8.count + author.rawValue.utf8.count + body.count }

  func encode(into writer: inout ByteWriter) {
    writer.add(kind.rawValue)
    writer.add(isRemoved ? 1 : 0 as UInt8)
    writer.add(version)
    writer.add(name.rawValue)
    writer.add(author.rawValue)
    writer.add(UInt16(body.count))
    writer.add(raw: body)
  }

  init(from reader: inout ByteReader) throws(MalformedPacket) {
    let kind = RecordKind(rawValue: try reader.byte())
    let flags = try reader.byte()
    guard flags <= 1 else { throw MalformedPacket("unknown flags") }
    let version = try reader.counter()
    let name = try reader.string(atMost: Self.maximumNameBytes)
    guard !name.isEmpty else { throw MalformedPacket("an empty name") }
    let author = try reader.name()
    let count = Int(try reader.integer() as UInt16)
    guard count <= Self.maximumBodyBytes else { throw MalformedPacket("a body is too long") }
    self.init(
      kind: kind, name: ExactText(name), version: version, author: author, isRemoved: flags == 1,
      body: try reader.raw(count))
  }
}

extension Record {
  /// Records one after the other, their count in four bytes before them.
  public static func encoded(_ records: [Record]) -> [UInt8] {
    var writer = ByteWriter()
    writer.add(UInt32(records.count))
    for record in records { record.encode(into: &writer) }
    return writer.bytes
  }

  /// - Throws: `MalformedPacket`, whatever the bytes are.
  public static func decode(_ bytes: [UInt8]) throws(MalformedPacket) -> [Record] {
    var reader = ByteReader(bytes)
    let records = try read(from: &reader)
    guard reader.isAtEnd else { throw MalformedPacket("bytes after the end") }
    return records
  }

  static func read(from reader: inout ByteReader) throws(MalformedPacket) -> [Record] {
    var records: [Record] = []
    // Nothing is reserved for a count that bytes may not follow.
    for _ in 0..<(try reader.integer() as UInt32) { records.append(try Record(from: &reader)) }
    return records
  }
}
