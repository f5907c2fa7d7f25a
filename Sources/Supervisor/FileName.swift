import Glibc

/// The name of an entry of a directory: bytes without NUL or slash, in whatever encoding.
struct FileName: Hashable, Sendable, CustomStringConvertible {
  /// As the system takes and gives it, with the NUL at its end.
  let bytes: [CChar]

  init(_ text: String) { bytes = Array(text.utf8CString) }

  /// Copies a C string.
  init(copying name: UnsafePointer<CChar>) { bytes = Array(UnsafeBufferPointer(start: name, count: strlen(name) + 1)) }

  /// A name that nobody has used or will guess.
  static func random() -> FileName { FileName(String(UInt64.random(in: .min ... .max), radix: 36)) }

  /// For a log: what is not UTF-8 becomes U+FFFD.
  var description: String { String(decoding: bytes.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self) }
}
