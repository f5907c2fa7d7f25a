extension Collection<UInt8> {
  /// Whether a text of UTF-8 begins with a byte order mark (U+FEFF, RFC 3629, section 6): three bytes that no editor shows.
  public var beginsWithByteOrderMark: Bool { starts(with: [0xEF, 0xBB, 0xBF]) }
}
