import COpenSSL

/// What OpenSSL reads and writes in place of a socket: sealed bytes as they come from the connection, borrowed for one call,
/// and those that are to be sent. Unlike OpenSSL's own BIO of memory it copies nothing that is read at once, and keeps no
/// memory while nothing is under way.
final class SealedBytes {
  /// Valid while `lend` runs.
  private var lent = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Came, and was not read: the reader paused.
  private var kept: [UInt8] = []
  private var keptStart = 0
  /// To be sent.
  private var output: [UInt8] = []

  /// Whether everything that came was read.
  var isEmpty: Bool { lent.isEmpty && keptStart == kept.count }

  /// Makes the BIO of one connection, which must not outlive this object.
  func makeBIO() -> OpaquePointer {
    guard let bio = BIO_new(Self.method) else { preconditionFailure("OpenSSL has no memory") }
    BIO_set_data(bio, Unmanaged.passUnretained(self).toOpaque())
    BIO_set_init(bio, 1)
    return bio
  }

  /// Lets OpenSSL read bytes during `body`, and keeps those that it leaves.
  func lend(_ bytes: UnsafeRawBufferPointer, during body: () -> Void) {
    if isEmpty { lent = bytes } else { kept += bytes }
    body()
    if !lent.isEmpty {
      kept = Array(lent)
      keptStart = 0
      lent = UnsafeRawBufferPointer(start: nil, count: 0)
    }
  }

  /// Hands on what is to be sent.
  /// - Returns: how many bytes that were.
  func send(_ write: ([UInt8]) -> Void) -> Int {
    let count = output.count
    guard count > 0 else { return 0 }
    write(output)
    // A short buffer serves the next time too, unless whoever writes keeps it.
    output.removeAll(keepingCapacity: output.capacity <= Self.keptOutputBytes)
    return count
  }

  private static let keptOutputBytes = 4096

  /// Makes room for the records that so many bytes become: at most 22 more for each 16 KiB (RFC 8446, section 5.2), in TLS
  /// 1.2 a few more.
  func reserve(for count: Int) { output.reserveCapacity(output.count + count + (count / 16_384 + 1) * 40) }

  // MARK: As OpenSSL sees it

  // Unsafe only in that OpenSSL's table is no value of Swift: it is filled once and never written again.
  nonisolated(unsafe) private static let method: OpaquePointer = {
    guard let method = BIO_meth_new(BIO_get_new_index() | Int32(BIO_TYPE_SOURCE_SINK), "sealed bytes") else {
      preconditionFailure("OpenSSL has no memory")
    }
    BIO_meth_set_read_ex(method) { bio, target, room, count in
      count!.pointee = SealedBytes.of(bio).read(into: UnsafeMutableRawBufferPointer(start: target, count: room))
      BIO_clear_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
      if count!.pointee > 0 { return 1 }
      BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
      return 0
    }
    BIO_meth_set_write_ex(method) { bio, bytes, size, count in
      SealedBytes.of(bio).output += UnsafeRawBufferPointer(start: bytes, count: size)
      count!.pointee = size
      return 1
    }
    // libssl wants its output flushed; all else that may be asked of a BIO is not there.
    BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
    return method
  }()

  private static func of(_ bio: OpaquePointer?) -> SealedBytes {
    Unmanaged<SealedBytes>.fromOpaque(BIO_get_data(bio)!).takeUnretainedValue()
  }

  private func read(into target: UnsafeMutableRawBufferPointer) -> Int {
    if keptStart < kept.count {
      let count = min(target.count, kept.count - keptStart)
      kept.withUnsafeBytes {
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[keptStart..<keptStart + count]))
      }
      keptStart += count
      if keptStart == kept.count {
        kept = []
        keptStart = 0
      }
      return count
    }
    let count = min(target.count, lent.count)
    guard count > 0 else { return 0 }
    target.copyMemory(from: UnsafeRawBufferPointer(rebasing: lent[..<count]))
    lent = UnsafeRawBufferPointer(rebasing: lent[count...])
    return count
  }
}
