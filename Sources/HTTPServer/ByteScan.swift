// What reading header bytes needs of them: finding one byte, comparing without case, trimming. All of it works on
// borrowed memory, because a String per header would cost more than the rest of a small request.
import Glibc

extension UnsafeRawBufferPointer {
  /// The offset of the first `byte` in `range`, if any.
  @inline(__always)
  func firstOffset(of byte: UInt8, in range: Range<Int>) -> Int? {
    guard let base = baseAddress, !range.isEmpty else { return nil }
    guard let found = memchr(base + range.lowerBound, Int32(byte), range.count) else { return nil }
    return UnsafeRawPointer(found) - base
  }

  /// Whether the bytes in `range` are `word`, which must be in lower case, when case is ignored.
  @inline(__always)
  func matches(_ word: StaticString, in range: Range<Int>) -> Bool {
    guard range.count == word.utf8CodeUnitCount else { return false }
    let expected = word.utf8Start
    for offset in 0..<range.count where self[range.lowerBound + offset].asciiLowercased != expected[offset] {
      return false
    }
    return true
  }

  /// `range` without the spaces and tabs at its ends (OWS, RFC 9110 §5.6.3).
  @inline(__always)
  func trimmed(_ range: Range<Int>) -> Range<Int> {
    var lower = range.lowerBound
    var upper = range.upperBound
    while lower < upper, self[lower].isBlank { lower += 1 }
    while lower < upper, self[upper - 1].isBlank { upper -= 1 }
    return lower..<upper
  }
}

extension UInt8 {
  static let carriageReturn: UInt8 = 13
  static let lineFeed: UInt8 = 10
  static let space: UInt8 = 32
  static let colon: UInt8 = 58

  /// Space or horizontal tab.
  @inline(__always) var isBlank: Bool { self == 32 || self == 9 }

  @inline(__always) var asciiLowercased: UInt8 { self &- 65 < 26 ? self | 0x20 : self }

  @inline(__always) var isASCIILetter: Bool { (self | 0x20) &- 97 < 26 }
}
