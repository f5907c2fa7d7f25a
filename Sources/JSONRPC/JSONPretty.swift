// The form of a value for people.

extension JSON {
  /// Indented by two spaces; ends with a line break.
  public func pretty() -> String {
    var bytes: [UInt8] = []
    writePretty(into: &bytes, indentation: 0)
    bytes.append(UInt8(ascii: "\n"))
    return String(decoding: bytes, as: UTF8.self)
  }

  private func writePretty(into bytes: inout [UInt8], indentation: Int) {
    switch self {
    case .array(let elements) where !elements.isEmpty:
      bytes.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        Self.breakLine(into: &bytes, index > 0, indentation + 2)
        element.writePretty(into: &bytes, indentation: indentation + 2)
      }
      Self.breakLine(into: &bytes, false, indentation)
      bytes.append(UInt8(ascii: "]"))
    case .object(let object) where !object.isEmpty:
      bytes.append(UInt8(ascii: "{"))
      for (index, member) in object.members.enumerated() {
        Self.breakLine(into: &bytes, index > 0, indentation + 2)
        Self.write(member.key, into: &bytes)
        bytes.append(": ")
        member.value.writePretty(into: &bytes, indentation: indentation + 2)
      }
      Self.breakLine(into: &bytes, false, indentation)
      bytes.append(UInt8(ascii: "}"))
    default: write(into: &bytes)
    }
  }

  private static func breakLine(into bytes: inout [UInt8], _ withComma: Bool, _ indentation: Int) {
    bytes.append(withComma ? ",\n" : "\n")
    bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: indentation))
  }
}
