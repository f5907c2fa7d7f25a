import Glibc

// Swift holds two strings for equal when they look alike: "é" as one scalar and as "e" with an accent. For whoever stores,
// sends or runs them they are different bytes, so what a client wrote is compared by its bytes.

extension String {
  /// Whether both are the same bytes of UTF-8.
  func isExactly(_ other: String) -> Bool {
    let isSame = utf8.withContiguousStorageIfAvailable { mine in
      other.utf8.withContiguousStorageIfAvailable { theirs in
        mine.count == theirs.count && (mine.isEmpty || memcmp(mine.baseAddress!, theirs.baseAddress!, mine.count) == 0)
      }
    }
    return isSame.flatMap { $0 } ?? utf8.elementsEqual(other.utf8)
  }
}
