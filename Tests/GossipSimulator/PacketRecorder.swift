import Gossip

/// A sample of all packets ever sent, as somebody on the wire could keep them.
struct PacketRecorder {
  struct Recorded {
    let bytes: [UInt8]
    let from: Int
    let to: Int
  }

  private(set) var packets: [Recorded] = []
  private var seen = 0
  /// 0: nothing is kept.
  var capacity = 0

  /// Each packet has the same chance to be kept, however many follow (Vitter's algorithm R).
  mutating func record(_ bytes: [UInt8], from: Int, to: Int, using generator: inout SeededGenerator) {
    guard capacity > 0 else { return }
    seen += 1
    let packet = Recorded(bytes: bytes, from: from, to: to)
    if packets.count < capacity {
      packets.append(packet)
    } else {
      let place = Int.random(in: 0..<seen, using: &generator)
      if place < capacity { packets[place] = packet }
    }
  }
}
