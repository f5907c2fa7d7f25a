import Gossip

// What does not work between this member and others that are there: a firewall with half a rule, a route in one direction.
// A value: what is seen goes in, what is to be said comes out.

/// Something between two members that does not work, though both take part.
public struct PathFault: Hashable, Sendable {
  public enum Kind: UInt8, Sendable, CaseIterable {
    /// There is no peer link, so that neither can call the other.
    case noLink = 1
    /// No packet of the peer arrives.
    case noUDPFrom = 2
    /// Packets of the peer arrive, and those to it are not answered.
    case noUDPTo = 3

    /// As a metric's label.
    public var label: String {
      switch self {
      case .noLink: "link"
      case .noUDPFrom: "udp_from"
      case .noUDPTo: "udp_to"
      }
    }
  }

  public let peer: MemberName
  public let kind: Kind
  /// What the last attempt failed with, of a link; may be empty.
  public let reason: String

  public init(peer: MemberName, kind: Kind, reason: String = "") {
    self.peer = peer
    self.kind = kind
    self.reason = reason
  }
}

extension PathFault: CustomStringConvertible {
  /// As a sentence of the log.
  public var description: String {
    switch kind {
    case .noLink: "no link with \(peer)\(reason.isEmpty ? "" : ": \(reason)")"
    case .noUDPFrom: "no UDP from \(peer) arrives"
    case .noUDPTo: "UDP to \(peer) is not answered"
    }
  }
}

extension PathFault: WireValue {
  public func encode(into writer: inout WireWriter) {
    writer.add(peer.rawValue)
    writer.addInteger(kind.rawValue)
    writer.add(reason)
  }

  public init(from reader: inout WireReader) throws(MalformedWire) {
    let peer: String = try reader.value()
    guard (1...MemberName.maximumBytes).contains(peer.utf8.count),
      let kind = Kind(rawValue: try reader.integer())
    else {
      throw MalformedWire("no fault of a link")
    }
    self.init(peer: MemberName(peer), kind: kind, reason: try reader.value())
  }
}

/// Finds faults in what is seen of the peers again and again.
public struct PathFaults: Sendable {
  /// What is seen of a peer that takes part.
  struct View: Sendable {
    var peer: MemberName
    var hasLink: Bool
    /// What the last attempt to make one failed with.
    var failure = ""
    var packets: PacketLoss?
  }

  /// What is to be said.
  struct Report: Hashable, Sendable {
    /// New ones, or all of them when they were last said long ago.
    var said: [PathFault] = []
    var ended: [PathFault] = []
    /// Whether others should hear of the present ones.
    var isDue = false
  }

  /// How long a link may be missing: a node that starts, or whose connection broke, has one within seconds.
  public static let patience = Duration.seconds(10)
  /// How often faults that last are said.
  static let interval = Duration.seconds(60)
  /// How long others believe what was said: it is said again in between.
  public static let validity = interval * 2.5

  private(set) var current: [PathFault] = []
  private var missing: [MemberName: Duration] = [:]
  private var saidAt: Duration?
  /// Since when no peer at all has a link with this member, though there are some.
  private(set) var isolatedSince: Duration?

  init() {}

  mutating func update(_ views: [View], at now: Duration) -> Report {
    missing = Dictionary(
      uniqueKeysWithValues: views.filter { !$0.hasLink }.map { ($0.peer, missing[$0.peer] ?? now) })
    isolatedSince = !views.isEmpty && missing.count == views.count ? isolatedSince ?? now : nil
    var faults: [PathFault] = []
    for view in views.sorted(by: { $0.peer < $1.peer }) {
      if let since = missing[view.peer], now - since >= Self.patience {
        faults.append(PathFault(peer: view.peer, kind: .noLink, reason: view.failure))
      }
      switch view.packets {
      case .incoming: faults.append(PathFault(peer: view.peer, kind: .noUDPFrom))
      case .outgoing: faults.append(PathFault(peer: view.peer, kind: .noUDPTo))
      case nil: break
      }
    }
    // The reason may change from one attempt to the next.
    func isSame(_ a: PathFault, _ b: PathFault) -> Bool { a.peer == b.peer && a.kind == b.kind }
    let ended = current.filter { old in !faults.contains { isSame($0, old) } }
    let begun = faults.filter { new in !current.contains { isSame($0, new) } }
    current = faults
    let isDue = !faults.isEmpty && now - (saidAt ?? now) >= Self.interval
    if isDue || !begun.isEmpty && saidAt == nil { saidAt = now }
    if faults.isEmpty { saidAt = nil }
    return Report(said: isDue ? faults : begun, ended: ended, isDue: isDue || !begun.isEmpty || !ended.isEmpty)
  }
}
