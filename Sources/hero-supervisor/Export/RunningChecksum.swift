import COpenSSL

/// SHA-256 (FIPS 180-4) over all bytes so far; it can be asked at any point, and goes on.
final class RunningChecksum {
  private let context: OpaquePointer
  /// Finished in place of `context`.
  private let scratch: OpaquePointer

  init() {
    context = EVP_MD_CTX_new()!
    scratch = EVP_MD_CTX_new()!
    precondition(EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1, "OpenSSL has SHA-256")
  }

  deinit {
    EVP_MD_CTX_free(context)
    EVP_MD_CTX_free(scratch)
  }

  /// One that goes on from here by itself.
  func copy() -> RunningChecksum {
    let copy = RunningChecksum()
    EVP_MD_CTX_copy_ex(copy.context, context)
    return copy
  }

  func add(_ bytes: ArraySlice<UInt8>) {
    bytes.withUnsafeBytes { _ = EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
  }

  /// 64 hexadecimal digits, as sha256sum(1) prints them.
  var text: String { hexadecimal(32) }

  /// The first 16 of them.
  var mark: String { hexadecimal(8) }

  private func hexadecimal(_ count: Int) -> String {
    EVP_MD_CTX_copy_ex(scratch, context)
    return withUnsafeTemporaryAllocation(byteCount: 32, alignment: 1) { digest in
      EVP_DigestFinal_ex(scratch, digest.baseAddress!.assumingMemoryBound(to: UInt8.self), nil)
      return String(unsafeUninitializedCapacity: 2 * count) { text in
        let digits: StaticString = "0123456789abcdef"
        for (index, byte) in digest.prefix(count).enumerated() {
          text[2 * index] = digits.utf8Start[Int(byte >> 4)]
          text[2 * index + 1] = digits.utf8Start[Int(byte & 15)]
        }
        return 2 * count
      }
    }
  }
}
