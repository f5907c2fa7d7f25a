import Glibc

/// A directory of one test, removed with all it holds when the test is over.
final class TemporaryDirectory: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/hero-supervisor-api-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil, "mkdtemp failed: \(errno)")
    path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// The content of a file in it; `nil` while there is none.
  func text(_ name: String) -> String? {
    guard let file = fopen("\(path)/\(name)", "re") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Writes a file and answers its path.
  @discardableResult
  func write(_ text: String, to name: String) -> String {
    let file = fopen("\(path)/\(name)", "we")
    precondition(file != nil, "cannot write \(path)/\(name)")
    fputs(text, file)
    fclose(file)
    return "\(path)/\(name)"
  }

  deinit { Self.removeTree(path) }

  private static func removeTree(_ path: String) {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
          tuple.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { removeTree("\(path)/\(name)") }
      }
      closedir(directory)
    }
    remove(path)
  }
}
