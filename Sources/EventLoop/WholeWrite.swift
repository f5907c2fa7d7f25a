import Glibc

/// Writes to files, which write(2) may do in part. Blocking.
public enum WholeWrite {
  /// Writes all of some bytes.
  /// - Throws: what write(2) refused; what it took before stays written.
  public static func write(_ bytes: [UInt8], to descriptor: Int32, _ operation: String) throws(UVError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { throw UVError(errno: errno, operation: operation) }
      rest = rest.dropFirst(count)
    }
  }
}
