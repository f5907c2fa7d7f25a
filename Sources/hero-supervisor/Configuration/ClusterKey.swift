/// One key: 256 bits, written as 64 hexadecimal digits. No way of printing shows it.
struct ClusterKey: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  static let digits = 64
  private let bytes: [UInt8]

  /// Reads a key; `nil` when it is none.
  init?(_ text: some StringProtocol) {
    let values = text.utf8.compactMap(Self.value)
    guard text.utf8.count == Self.digits, values.count == Self.digits else { return nil }
    bytes = stride(from: 0, to: Self.digits, by: 2).map { values[$0] << 4 | values[$0 + 1] }
  }

  private init(bytes: [UInt8]) { self.bytes = bytes }

  /// A new key, of the system's random numbers.
  static func random() -> ClusterKey {
    var random = SystemRandomNumberGenerator()
    return ClusterKey(bytes: (0..<digits / 2).map { _ in random.next() })
  }

  /// The key itself, for what seals and opens packets.
  func reveal() -> [UInt8] { bytes }

  /// The key as a file holds it.
  func written() -> String {
    let digits = Array("0123456789abcdef")
    return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  private static func value(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }

  var description: String { "***" }
  var debugDescription: String { "***" }
  var customMirror: Mirror { Mirror(self, children: []) }
}
