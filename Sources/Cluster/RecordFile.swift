import EventLoop
import Glibc
import Gossip
import TLS

/// The records of a node on its disk: `records` in the data directory. A line that says what it is, the records as they
/// travel, and the SHA-256 of all that stands before it.
///
/// A file that is damaged is an error, not an empty one: a node that knows no keys any more would be open to everybody.
struct RecordFile: Sendable {
  private static let head = Array("hero-supervisor records 1\n".utf8)

  let path: String

  /// - Throws: `RecordsUnreadable`. A file that is not there has no records.
  func read() throws(RecordsUnreadable) -> [Record] {
    guard let bytes = try contents() else { return [] }
    guard bytes.count >= Self.head.count + SHA256.digestBytes, bytes.starts(with: Self.head),
      SHA256.digest(bytes.dropLast(SHA256.digestBytes)) == Array(bytes.suffix(SHA256.digestBytes))
    else {
      throw RecordsUnreadable(path: path, reason: "it is damaged, or no file of records")
    }
    do throws(MalformedPacket) {
      return try Record.decode(Array(bytes.dropFirst(Self.head.count).dropLast(SHA256.digestBytes)))
    } catch {
      throw RecordsUnreadable(path: path, reason: error.reason)
    }
  }

  /// Replaces the file in one step; it is on the disk when this returns. Blocking.
  func write(_ records: [Record]) throws(UVError) {
    let bytes = Self.head + Record.encoded(records)
    try DurableFile.replace(path, with: bytes + SHA256.digest(bytes))
  }

  private func contents() throws(RecordsUnreadable) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0, errno == ENOENT { return nil }
    guard descriptor >= 0 else { throw RecordsUnreadable(path: path, errno) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Glibc.read(descriptor, &buffer, buffer.count)
      guard count >= 0 else { throw RecordsUnreadable(path: path, errno) }
      if count == 0 { return bytes }
      bytes += buffer[..<count]
    }
  }
}

/// The records of a node cannot be read, so it cannot know its keys.
public struct RecordsUnreadable: Error, Hashable, Sendable {
  public let path: String
  public let reason: String
}

extension RecordsUnreadable {
  fileprivate init(path: String, _ code: Int32) {
    self.init(path: path, reason: UVError(errno: code, operation: "read").message)
  }
}

/// The records could not be written to the disk; the reason in words.
public struct RecordsUnwritable: Error, Hashable, Sendable {
  public let reason: String
}
