/// Cuts the bytes of a connection into frames. What arrives whole is not copied.
struct FrameBuffer {
  /// The beginning of a frame, its length included, that has not arrived completely.
  private var partial: [UInt8] = []

  private static let lengthBytes = 4

  /// - Parameter take: gets each frame that is complete; valid during the call.
  /// - Throws: what `take` throws, or when a length is no frame's: nothing after it can be read.
  mutating func feed(
    _ bytes: UnsafeRawBufferPointer, _ take: (UnsafeRawBufferPointer) throws(LinkFault) -> Void
  ) throws(LinkFault) {
    var rest = bytes[...]
    while !partial.isEmpty && !rest.isEmpty {
      fill(from: &rest, upTo: Self.lengthBytes)
      guard partial.count >= Self.lengthBytes else { return }
      let end =
        Self.lengthBytes
        + (try partial.withUnsafeBufferPointer { (bytes) throws(LinkFault) in
          try Self.length(UnsafeRawBufferPointer(bytes))
        })
      fill(from: &rest, upTo: end)
      guard partial.count == end else { return }
      try partial.withUnsafeBufferPointer { (bytes) throws(LinkFault) in
        try take(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: bytes[Self.lengthBytes...])))
      }
      partial.removeAll(keepingCapacity: true)
    }
    while rest.count >= Self.lengthBytes {
      let count = try Self.length(UnsafeRawBufferPointer(rebasing: rest))
      let start = rest.startIndex + Self.lengthBytes
      guard rest.endIndex - start >= count else { break }
      try take(UnsafeRawBufferPointer(rebasing: rest[start..<(start + count)]))
      rest = rest[(start + count)...]
    }
    partial.append(contentsOf: rest)
  }

  private mutating func fill(from rest: inout Slice<UnsafeRawBufferPointer>, upTo count: Int) {
    let missing = min(max(0, count - partial.count), rest.count)
    partial.append(contentsOf: rest.prefix(missing))
    rest = rest.dropFirst(missing)
  }

  private static func length(_ bytes: UnsafeRawBufferPointer) throws(LinkFault) -> Int {
    let count = Int(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
    guard Frame.bytes.contains(count) else { throw LinkFault(reason: "a frame of \(count) bytes") }
    return count
  }
}
