import Supervisor
import Synchronization

/// The nodes that a request could not ask: what they have is missing in its answer. The calls of a batch share it.
public final class MissingNodes: Sendable {
  private let nodes = Mutex<Set<NodeName>>([])

  public init() {}

  func add(_ more: [NodeName]) {
    if !more.isEmpty { nodes.withLock { $0.formUnion(more) } }
  }

  /// The value of the field `Hero-Unreachable`: names, separated by commas; `nil` when none is missing. What a name has
  /// besides visible ASCII, and "," and "%", is percent-encoded (RFC 3986, section 2.1).
  var headerValue: String? {
    let names = nodes.withLock { $0.sorted() }
    return names.isEmpty ? nil : names.map { Self.encoded($0.rawValue) }.joined(separator: ", ")
  }

  private static func encoded(_ name: String) -> String {
    String(
      decoding: name.utf8.flatMap { byte -> [UInt8] in
        let isPlain = byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: ",") && byte != UInt8(ascii: "%")
        return isPlain ? [byte] : Array("%\(byte < 16 ? "0" : "")\(String(byte, radix: 16, uppercase: true))".utf8)
      }, as: UTF8.self)
  }
}
