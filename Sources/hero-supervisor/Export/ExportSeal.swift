import JSONRPC

// Each line ends with a mark, the beginning of the SHA-256 of all bytes of the export up to the mark. So a line that was
// changed, lost or moved is known at that line, before anything is made of it:
//
//     {"job":{…},"mark":"0123456789abcdef"}

/// Seals lines one after the other, or checks seals.
final class ExportSeal {
  private let checksum: RunningChecksum

  init() { checksum = RunningChecksum() }
  private init(_ checksum: RunningChecksum) { self.checksum = checksum }

  /// One that goes on from here by itself.
  func copy() -> ExportSeal { ExportSeal(checksum.copy()) }

  private static let opening = Array(#","mark":""#.utf8)
  private static let ending = Array("\"}\n".utf8)
  private static let length = opening.count + 16 + ending.count

  /// SHA-256 of all lines so far.
  var text: String { checksum.text }

  /// Appends an object as a line.
  func append(_ object: JSON, to bytes: inout [UInt8]) {
    let start = bytes.count
    object.write(into: &bytes)
    bytes.removeLast()
    checksum.add(bytes[start...])
    let mark = bytes.count
    bytes += Self.opening
    bytes += checksum.mark.utf8
    bytes += Self.ending
    checksum.add(bytes[mark...])
  }

  /// Whether a line, with its end, follows on all lines before, as it was written.
  func accepts(_ line: ArraySlice<UInt8>) -> Bool {
    guard line.count > Self.length else { return false }
    let end = line.suffix(Self.length)
    checksum.add(line.dropLast(Self.length))
    guard end.elementsEqual(Self.opening + checksum.mark.utf8 + Self.ending) else { return false }
    checksum.add(end)
    return true
  }
}
