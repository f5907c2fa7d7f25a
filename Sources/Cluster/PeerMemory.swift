import EventLoop
import Glibc
import Gossip

/// What a node remembers of the cluster from one run to the next: its incarnation, and where its peers were, so that it
/// finds them again without any seed. A text file in the data directory:
///
///     incarnation 7
///     peer 10.0.0.2:7946
struct PeerMemory: Hashable, Sendable {
  var incarnation = Incarnation(0)
  var peers: [MemberAddress] = []

  init() {}

  /// An absent or damaged file is an empty memory: peers and seeds know the rest.
  init(reading path: String) {
    guard let file = fopen(path, "re") else { return }
    defer { fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { free(line) }
    while getline(&line, &capacity, file) > 0, let line {
      let words = String(cString: line).split(whereSeparator: \.isWhitespace)
      guard words.count == 2 else { continue }
      switch words[0] {
      // What cannot be counted on is no incarnation.
      case "incarnation": incarnation = Incarnation(UInt64(words[1]).flatMap { $0 < .max / 4 ? $0 : nil } ?? 0)
      case "peer" where (try? SocketAddress(parsing: String(words[1]))) != nil:
        peers.append(MemberAddress(String(words[1])))
      default: continue
      }
    }
  }

  /// Replaces the file in one step. Blocking.
  func write(to path: String) throws(UVError) {
    let text = "incarnation \(incarnation.rawValue)\n" + peers.map { "peer \($0)\n" }.joined()
    try DurableFile.replace(path, with: Array(text.utf8))
  }
}
