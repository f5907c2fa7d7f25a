// Strings of a JSON text: eight bytes at a time up to the closing quote; escapes and errors are the rare case.

extension JSONScanner {
  /// A string from behind its opening quote to behind its closing one.
  /// - Returns: `isASCII` may be false for an ASCII string, never true for another.
  mutating func string() throws(JSONParseError) -> (text: String, isASCII: Bool) {
    let first = at
    let isASCII = try skipPlain()
    if at < end, at.load(as: UInt8.self) == UInt8(ascii: "\"") {
      let bytes = UnsafeRawBufferPointer(start: first, count: at - first)
      at += 1
      return (try text(bytes, from: first, isASCII: isASCII), isASCII)
    }
    return (try stringWithEscapes(from: first), false)
  }

  /// Goes to the next quote or backslash.
  /// - Returns: whether all bytes passed, and perhaps some behind them, are ASCII.
  @inline(__always)
  private mutating func skipPlain() throws(JSONParseError) -> Bool {
    var all: UInt64 = 0
    while end - at >= 8 {
      let word = UInt64(littleEndian: at.loadUnaligned(as: UInt64.self))
      all |= word
      let marks = JSON.escapedBytes(of: word)
      if marks == 0 {
        at += 8
        continue
      }
      at += marks.trailingZeroBitCount >> 3
      if at.load(as: UInt8.self) < 0x20 { throw controlCharacter() }
      return all & 0x8080_8080_8080_8080 == 0
    }
    while at < end {
      let byte = at.load(as: UInt8.self)
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { break }
      if byte < 0x20 { throw controlCharacter() }
      all |= UInt64(byte)
      at += 1
    }
    return all & 0x8080_8080_8080_8080 == 0
  }

  @inline(never)
  private func controlCharacter() -> JSONParseError {
    failure("\(found) in a string must be written as an escape", at: at)
  }

  private func text(
    _ bytes: UnsafeRawBufferPointer, from first: UnsafeRawPointer, isASCII: Bool
  ) throws(JSONParseError) -> String {
    let utf8 = bytes.assumingMemoryBound(to: UInt8.self)
    if isASCII { return String(decoding: utf8, as: UTF8.self) }
    guard let text = String(validating: utf8, as: UTF8.self) else { throw invalidUTF8(from: first) }
    return text
  }

  // MARK: Escapes

  private mutating func stringWithEscapes(from first: UnsafeRawPointer) throws(JSONParseError) -> String {
    unescaped.removeAll(keepingCapacity: true)
    var run = first
    while true {
      unescaped.append(contentsOf: UnsafeRawBufferPointer(start: run, count: at - run))
      guard at < end else { throw failure("a string has no closing quote") }
      if skip(UInt8(ascii: "\"")) { break }
      try escape()
      run = at
      _ = try skipPlain()
    }
    guard let text = String(validating: unescaped, as: UTF8.self) else { throw invalidUTF8(from: first) }
    return text
  }

  private mutating func escape() throws(JSONParseError) {
    let backslash = at
    at += 1
    guard at < end else { throw failure("a string has no closing quote") }
    let byte = at.load(as: UInt8.self)
    at += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): unescaped.append(byte)
    case UInt8(ascii: "n"): unescaped.append(0x0A)
    case UInt8(ascii: "t"): unescaped.append(0x09)
    case UInt8(ascii: "r"): unescaped.append(0x0D)
    case UInt8(ascii: "b"): unescaped.append(0x08)
    case UInt8(ascii: "f"): unescaped.append(0x0C)
    case UInt8(ascii: "u"): unescaped.append(contentsOf: Unicode.UTF8.encode(try scalar(from: backslash))!)
    default: throw failure("unknown escape in a string", at: backslash)
    }
  }

  /// The character that `\uXXXX`, or two of them (RFC 8259, section 7), stand for.
  private mutating func scalar(from backslash: UnsafeRawPointer) throws(JSONParseError) -> Unicode.Scalar {
    let unit = try codeUnit(from: backslash)
    if let scalar = Unicode.Scalar(unit) { return scalar }
    guard UTF16.isLeadSurrogate(UInt16(unit)), at + 1 < end, peek == UInt8(ascii: "\\"),
      (at + 1).load(as: UInt8.self) == UInt8(ascii: "u")
    else { throw loneSurrogate(unit, at: backslash) }
    at += 2
    let second = try codeUnit(from: at - 2)
    guard UTF16.isTrailSurrogate(UInt16(second)) else { throw loneSurrogate(unit, at: backslash) }
    return Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (second - 0xDC00))!
  }

  private mutating func codeUnit(from backslash: UnsafeRawPointer) throws(JSONParseError) -> UInt32 {
    var unit: UInt32 = 0
    for _ in 0..<4 {
      guard at < end else { throw failure("a string has no closing quote") }
      guard let digit = Character(Unicode.Scalar(at.load(as: UInt8.self))).hexDigitValue else {
        throw failure("\\u needs four hexadecimal digits", at: backslash)
      }
      unit = unit << 4 + UInt32(digit)
      at += 1
    }
    return unit
  }

  private func loneSurrogate(_ unit: UInt32, at position: UnsafeRawPointer) -> JSONParseError {
    failure("lone surrogate \\u\(String(unit, radix: 16, uppercase: true)) in a string", at: position)
  }

  // MARK: UTF-8

  /// Finds the byte that broke the rules, in a string that is known to break them.
  @inline(never)
  private func invalidUTF8(from first: UnsafeRawPointer) -> JSONParseError {
    let bytes = UnsafeRawBufferPointer(start: first, count: end - first)
    var decoder = UTF8.ForwardParser()
    var iterator = bytes.makeIterator()
    var offset = 0
    scan: while true {
      switch decoder.parseScalar(from: &iterator) {
      case .valid(let scalar): offset += scalar.count
      case .error, .emptyInput: break scan
      }
    }
    let digits = String(bytes[min(offset, bytes.count - 1)], radix: 16, uppercase: true)
    return failure("invalid UTF-8 (byte 0x\(digits)) in a string", at: first + offset)
  }
}
