import Foundation
import Synchronization

/// Network namespaces (network_namespaces(7)), one a node, on one switch, with the test's own namespace on it as well so that
/// clients reach every node whatever the nodes hear of each other. Addresses are of the range for such tests (RFC 2544).
final class TestNetwork: Sendable {
  private static let made = Atomic<Int>(0)
  private let prefix: String
  private let subnet: String
  private let names: [String]

  /// Whether this process may make one: with CAP_NET_ADMIN and the programs ip(8) and nft(8).
  static let isPermitted: Bool = {
    guard getuid() == 0, run(["nft", "--version"]) else { return false }
    let name = "hero-try-\(getpid())"
    guard run(["ip", "netns", "add", name]) else { return false }
    defer { _ = run(["ip", "netns", "del", name]) }
    return run(["ip", "netns", "exec", name, "nft", "add", "table", "inet", "hero"])
  }()

  init(_ names: [String]) {
    self.names = names
    Self.removeLeftovers()
    // The system takes its time to remove the interfaces of a network before.
    let number = Self.made.add(1, ordering: .relaxed).newValue
    prefix = "h\(getpid())n\(number)"
    subnet = "198.18.\((Int(getpid()) + number) % 250)"
    let bridge = "\(prefix)br"
    Self.must(["ip", "link", "add", bridge, "type", "bridge"])
    Self.must(["ip", "addr", "add", "\(subnet).254/24", "dev", bridge])
    Self.must(["ip", "link", "set", bridge, "up"])
    for (index, name) in names.enumerated() {
      let space = space(name)
      Self.must(["ip", "netns", "add", space])
      Self.must(["ip", "link", "add", "\(prefix)v\(index)", "type", "veth", "peer", "name", "eth0", "netns", space])
      Self.must(["ip", "link", "set", "\(prefix)v\(index)", "master", bridge, "up"])
      Self.must(["ip", "-n", space, "addr", "add", "\(address(name))/24", "dev", "eth0"])
      Self.must(["ip", "-n", space, "link", "set", "eth0", "up"])
      Self.must(["ip", "-n", space, "link", "set", "lo", "up"])
      Self.must(inside(name, ["nft", "add", "table", "inet", "hero"]))
      Self.must(inside(name, ["nft", "add chain inet hero in { type filter hook input priority 0; }"]))
    }
  }

  deinit {
    for name in names { _ = Self.run(["ip", "netns", "del", space(name)]) }
    _ = Self.run(["ip", "link", "del", "\(prefix)br"])
  }

  /// Those of test processes that were killed.
  private static func removeLeftovers() {
    guard let directory = opendir("/run/netns") else { return }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard let match = name.wholeMatch(of: /h([0-9]+)n([0-9]+)-.*/), kill(pid_t(match.1)!, 0) != 0 else { continue }
      _ = run(["ip", "netns", "del", name])
      _ = run(["ip", "link", "del", "h\(match.1)n\(match.2)br"])
    }
  }

  func address(_ name: String) -> String { "\(subnet).\(names.firstIndex(of: name)! + 1)" }
  private func space(_ name: String) -> String { "\(prefix)-\(name)" }
  func wrapper(_ name: String) -> [String] { ["ip", "netns", "exec", space(name)] }
  private func inside(_ name: String, _ words: [String]) -> [String] { wrapper(name) + words }

  // MARK: Disturbances; they stay until `heal`

  /// Makes one on a thread of its own, since its commands block theirs.
  static func make(_ names: [String]) async -> TestNetwork {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread { continuation.resume(returning: TestNetwork(names)) }
    }
  }

  /// Changes it on a thread of its own.
  func aside(_ change: @escaping @Sendable (TestNetwork) -> Void) async {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread { [self] in
        change(self)
        continuation.resume()
      }
    }
  }

  /// `receiver` gets nothing of what `sender` sends.
  func cut(from sender: String, to receiver: String) {
    Self.must(inside(receiver, ["nft", "add rule inet hero in ip saddr \(address(sender)) drop"]))
  }

  /// `receiver` gets nothing of what a server at this port of the test's own machine sends.
  func cut(fromPort port: UInt16, to receiver: String) {
    Self.must(inside(receiver, ["nft", "add rule inet hero in tcp sport \(port) drop"]))
  }

  /// A node gets nothing of what its port for clients is sent, or nobody gets what it sends from there.
  func silence(_ name: String, incoming: Bool) {
    if !incoming {
      Self.must(inside(name, ["nft", "add chain inet hero out { type filter hook output priority 0; }"]))
    }
    Self.must(inside(name, ["nft", "add rule inet hero \(incoming ? "in tcp dport" : "out tcp sport") 8082 drop"]))
  }

  /// A node drops what comes by a protocol from, and so hears nothing of it.
  func drop(_ transport: String, from sender: String, to receiver: String) {
    Self.must(
      inside(receiver, ["nft", "add rule inet hero in ip saddr \(address(sender)) meta l4proto \(transport) drop"]))
  }

  /// Drops packets of other nodes that are larger than this, and says so to nobody, as a tunnel may.
  func narrow(_ name: String, bytes: Int) {
    for other in names {
      // Each packet for itself, as on a wire.
      Self.must(["ip", "-n", space(other), "link", "set", "eth0", "gso_max_segs", "1"])
    }
    let peers = names.filter { $0 != name }.map(address).joined(separator: ", ")
    Self.must(inside(name, ["nft", "add rule inet hero in ip saddr { \(peers) } ip length > \(bytes) drop"]))
  }

  /// The test's own address on the network.
  var host: String { "\(subnet).254" }

  /// The two sides hear nothing of each other.
  func partition(_ some: [String], _ others: [String]) {
    for a in some {
      for b in others {
        cut(from: a, to: b)
        cut(from: b, to: a)
      }
    }
  }

  /// Of all packets between nodes, UDP and TCP, this share is lost on arrival.
  func lose(percent: Int) {
    for name in names {
      let peers = names.filter { $0 != name }.map(address).joined(separator: ", ")
      Self.must(
        inside(
          name, ["nft", "add rule inet hero in ip saddr { \(peers) } numgen random mod 100 < \(percent) drop"]))
    }
  }

  func heal() {
    for name in names { Self.must(inside(name, ["nft", "flush table inet hero"])) }
  }

  // MARK: Commands

  private static func must(_ words: [String]) {
    precondition(run(words), "failed: \(words.joined(separator: " "))")
  }

  /// Runs a command without its output; whether it succeeded.
  private static func run(_ words: [String]) -> Bool {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in [STDOUT_FILENO, STDERR_FILENO] {
      posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0)
    }
    let arguments = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    let environment = [strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nil]
    defer { free(environment[0]) }
    var pid: pid_t = 0
    guard posix_spawnp(&pid, words[0], &actions, nil, arguments, environment) == 0 else { return false }
    var status: Int32 = 0
    guard waitpid(pid, &status, 0) == pid else { return false }
    return status == 0
  }
}
