import Glibc

/// What decides all that is random in a test. It is printed with each failure, as it is given to repeat it:
/// `GOSSIP_SEED=… swift test --filter GossipTests`.
struct Seed: CustomStringConvertible {
  let value = getenv("GOSSIP_SEED").flatMap { UInt64(String(cString: $0)) } ?? .random(in: 0...UInt64.max)
  var description: String { "GOSSIP_SEED=\(value)" }
}
