import COpenSSL

/// An object of OpenSSL, freed with this one.
final class Owned: @unchecked Sendable {
  // @unchecked: whoever makes an object fills it in before others see it, and nobody changes it afterwards; OpenSSL's
  // reference counts are atomic.

  let raw: OpaquePointer
  private let free: @Sendable (OpaquePointer?) -> Void

  /// - Precondition: OpenSSL had the memory.
  init(_ raw: OpaquePointer?, _ free: @escaping @Sendable (OpaquePointer?) -> Void) {
    guard let raw else { preconditionFailure("OpenSSL has no memory") }
    self.raw = raw
    self.free = free
  }

  deinit { free(raw) }
}

/// Runs a body with a BIO that reads from bytes.
func withReader<Result>(of bytes: [UInt8], _ body: (OpaquePointer) -> Result) -> Result {
  bytes.withUnsafeBytes { raw in
    let bio = Owned(BIO_new_mem_buf(raw.baseAddress ?? UnsafeRawPointer(bitPattern: 1), Int32(raw.count))) {
      BIO_free($0)
    }
    return withExtendedLifetime(bio) { body(bio.raw) }
  }
}

/// What a body writes into a BIO.
func written(by body: (OpaquePointer) -> Void) -> [UInt8] {
  let bio = Owned(BIO_new(BIO_s_mem())) { BIO_free($0) }
  body(bio.raw)
  var start: UnsafeMutablePointer<CChar>?
  let count = hero_bio_bytes(bio.raw, &start)
  return Array(UnsafeRawBufferPointer(start: start, count: max(0, count)))
}

/// Text out of a certificate, which a stranger may have made: printable ASCII on one line, cut after 300 bytes.
func shown(_ bytes: [UInt8]) -> String {
  let printable = bytes.prefix(300).map { $0 >= 0x20 && $0 < 0x7F ? $0 : UInt8(ascii: "?") }
  return String(decoding: printable, as: UTF8.self) + (bytes.count > 300 ? "..." : "")
}
