import COpenSSL

/// SHA-256 (FIPS 180-4).
public enum SHA256 {
  public static let digestBytes = 32

  public static func digest(_ bytes: some Collection<UInt8>) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: digestBytes)
    func hash(_ bytes: UnsafeRawBufferPointer) -> Bool {
      EVP_Digest(bytes.baseAddress, bytes.count, &digest, nil, EVP_sha256(), nil) == 1
    }
    let isHashed =
      bytes.withContiguousStorageIfAvailable { hash(UnsafeRawBufferPointer($0)) }
      ?? Array(bytes).withUnsafeBytes { hash($0) }
    precondition(isHashed, "OpenSSL has SHA-256")
    return digest
  }
}
