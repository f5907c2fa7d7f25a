import COpenSSL
import EventLoop
import Glibc
import Gossip

/// The records of a node on its disk: `records` in the data directory. A line that says what it is, the records as they
/// travel, and the SHA-256 of all that stands before it.
///
/// A file that is damaged is an error, not an empty one: a node that knows no keys any more would be open to everybody.
struct RecordFile: Sendable {
  private static let head = Array("hero-supervisor records 1\n".utf8)
  private static let hashBytes = 32

  let path: String

  /// - Throws: `RecordsUnreadable`. A file that is not there has no records.
  func read() throws(RecordsUnreadable) -> [Record] {
    guard let bytes = try contents() else { return [] }
    guard bytes.count >= Self.head.count + Self.hashBytes, bytes.starts(with: Self.head),
      Self.hash(bytes.dropLast(Self.hashBytes)) == Array(bytes.suffix(Self.hashBytes))
    else {
      throw RecordsUnreadable(path: path, reason: "it is damaged, or no file of records")
    }
    do throws(MalformedPacket) {
      return try Record.decode(Array(bytes.dropFirst(Self.head.count).dropLast(Self.hashBytes)))
    } catch {
      throw RecordsUnreadable(path: path, reason: error.reason)
    }
  }

  /// Replaces the file in one step; it and its name are on the disk (fsync) when this returns. Blocking.
  func write(_ records: [Record]) throws(UVError) {
    var bytes = Self.head + Record.encoded(records)
    bytes += Self.hash(bytes[...])
    let draft = "\(path).new"
    unlink(draft)
    let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw UVError(errno: errno, operation: "open \(draft)") }
    defer { close(descriptor) }
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { throw UVError(errno: errno, operation: "write \(draft)") }
      rest = rest.dropFirst(count)
    }
    guard fsync(descriptor) == 0, rename(draft, path) == 0 else {
      throw UVError(errno: errno, operation: "write \(path)")
    }
    let directory = open(path.lastIndex(of: "/").map { String(path[...$0]) } ?? ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw UVError(errno: errno, operation: "open the directory of \(path)") }
    defer { close(directory) }
    guard fsync(directory) == 0 else { throw UVError(errno: errno, operation: "fsync the directory of \(path)") }
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

  private static func hash(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: hashBytes)
    let isHashed = bytes.withUnsafeBytes {
      EVP_Digest($0.baseAddress, $0.count, &digest, nil, EVP_sha256(), nil) == 1
    }
    precondition(isHashed, "OpenSSL has SHA-256")
    return digest
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
