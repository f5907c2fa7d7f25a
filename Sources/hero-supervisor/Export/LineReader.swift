import Glibc

/// The lines of a file or a pipe, one after the other; holds one line and one piece of what follows.
struct LineReader {
  private let descriptor: Int32
  private let path: String
  private var buffer: [UInt8] = []
  /// Where the next line begins in the buffer.
  private var start = 0
  private var isAtEnd = false

  private static let piece = 1 << 18
  /// No line of an export is longer; without a bound a file that has no lines would fill the memory.
  private static let longest = 1 << 30

  init(_ descriptor: Int32, named path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  /// The next line with its end, which the last one may be without; `nil` after the last.
  /// - Throws: `FileBytes.Failure`, also for a line that is too long.
  mutating func next() throws(FileBytes.Failure) -> ArraySlice<UInt8>? {
    var looked = start
    while true {
      if let end = buffer[looked...].firstIndex(of: UInt8(ascii: "\n")) {
        defer { start = end + 1 }
        return buffer[start...end]
      }
      looked = buffer.count
      if isAtEnd {
        defer { start = buffer.count }
        return start < buffer.count ? buffer[start...] : nil
      }
      if start > 0 {
        buffer.removeFirst(start)
        looked -= start
        start = 0
      }
      guard buffer.count <= Self.longest else {
        throw FileBytes.Failure(path: path, reason: "has a line that is longer than \(Self.longest) bytes", code: EFBIG)
      }
      try read()
    }
  }

  private mutating func read() throws(FileBytes.Failure) {
    var count = 0
    let piece = [UInt8](unsafeUninitializedCapacity: Self.piece) { bytes, initialized in
      repeat { count = Glibc.read(descriptor, bytes.baseAddress, bytes.count) } while count < 0 && errno == EINTR
      initialized = max(count, 0)
    }
    if count < 0 { throw FileBytes.Failure(path: path, reason: errorText(errno), code: errno) }
    isAtEnd = count == 0
    buffer += piece
  }
}
