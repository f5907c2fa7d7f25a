import Cluster

// When the lease of another node is over. No clock of a database, and none of another machine, has a say in it: the row of
// a lease carries a number that is another with each renewal (its beat), and who reads it measures by its own clock for how
// long that has not changed. A lease is ended by writing that it is, and only if the beat is still the one that was read.

/// A lease of another process that is in force, as this process has seen it.
public struct PeerLease: Hashable, Sendable {
  public let session: Int64
  public let node: NodeName
  /// Of its last renewal.
  public let beat: Int64
  /// For how long a renewal is good.
  public let length: Duration
  /// For how long this process has seen no renewal, by its own clock; from when it first read this beat.
  public let silence: Duration
  /// For how long this process has been connected to the same server without a break.
  public let watched: Duration
  /// The number of that connection.
  public let connection: Int

  public init(
    session: Int64, node: NodeName, beat: Int64, length: Duration, silence: Duration, watched: Duration, connection: Int
  ) {
    self.session = session
    self.node = node
    self.beat = beat
    self.length = length
    self.silence = silence
    self.watched = watched
    self.connection = connection
  }

  /// For how long of its length a lease is worked by: the owner stops a fifth before others may take what it has.
  public static func workingTime(of length: Duration) -> Duration { length - length / 5 }

  /// What may be done about it.
  public enum Verdict: Sendable {
    case wait
    /// Its node is asked whether it works.
    case ask
    case end
  }

  /// - Parameters:
  ///   - isPresent: whether the membership sees a node of this name.
  ///   - hasTold: whether that node has said that this lease is over.
  public func verdict(isPresent: Bool, hasTold: Bool = false) -> Verdict {
    if !isPresent { return isOver ? .end : .wait }
    // A node is believed to be cut off alone only by who was not cut off itself: after an outage of the database each node
    // has the time to renew its own.
    guard watched >= Self.workingTime(of: length) else { return .wait }
    return hasTold || silence >= length / 2 ? .ask : .wait
  }

  /// What follows from the answer of a node that is there.
  public func verdict(after answer: LeaseState) -> Verdict {
    switch answer {
    case .over: .end
    // A former process of a node that is there: nobody can be asked about it.
    case .unknown: isOver ? .end : .wait
    case .inForce: .wait
    }
  }

  private var isOver: Bool { silence >= length }
}

/// What a node says of a lease.
public enum LeaseState: UInt8, Hashable, Sendable {
  /// It works by this lease, or what runs by it has not ended yet.
  case inForce = 1
  /// It is over, nothing runs by it any more, and no renewal that was sent before brings it back.
  case over
  /// It is no lease of this process.
  case unknown
}

extension LeaseState: WireValue {
  public func encode(into writer: inout WireWriter) { writer.addInteger(rawValue) }
  public init(from reader: inout WireReader) throws(MalformedWire) {
    guard let state = LeaseState(rawValue: try reader.integer()) else { throw MalformedWire("no state of a lease") }
    self = state
  }
}
