// What is known of JSON from its bytes alone, before anything is built of it.
import Glibc

extension UnsafeRawBufferPointer {
  /// Behind the quote that ends a string; nil when none does.
  /// - Parameter start: behind the quote that begins it.
  func endOfString(from start: Int) -> Int? {
    var place = start
    while place < count, let found = memchr(baseAddress! + place, Int32(UInt8(ascii: "\"")), count - place) {
      let quote = UnsafeRawPointer(found) - baseAddress!
      var slashes = quote
      while slashes > place, self[slashes - 1] == UInt8(ascii: "\\") { slashes -= 1 }
      place = quote + 1
      if (quote - slashes).isMultiple(of: 2) { return place }
    }
    return nil
  }
}

extension UInt8 {
  /// White space of RFC 8259, section 2.
  var isJSONBlank: Bool { self == 0x20 || self == 0x0A || self == 0x0D || self == 0x09 }
}
