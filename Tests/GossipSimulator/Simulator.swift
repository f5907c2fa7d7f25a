// A cluster in one thread and virtual time: what happens is decided by the seed alone. The members are real ones, and
// their packets are encoded and decoded; simulated are the network, the clocks and the misfortunes.

import Gossip
import HeapModule

package struct Simulator {
  /// One process, or what became of it.
  struct Node {
    var swim: SWIM
    /// The number of its address, which changes when it is started again elsewhere.
    var address: Int
    var condition = Condition.running
    /// What waits while it is stopped or starved.
    var received: [Event] = []
    var sent: [(event: Event, to: Int)] = []
    /// What its clock shows beyond the time of the simulation.
    var clock = Duration.zero
    var wakeAt = Duration.seconds(1 << 40)
    /// Since when it and its network are in order.
    var goodSince = Duration.seconds(-1 << 40)
  }

  enum Condition {
    case running
    /// Neither sends nor receives ever again, or until it is started.
    case dead
    /// Stopped: what arrives waits.
    case paused
    /// As in the Lifeguard paper, §V-D: timers run, what it sends and receives waits.
    case starved
  }

  enum Event {
    case wake
    case packet([UInt8], from: Int)
    /// The two halves of an exchange by a peer link.
    case exchange(MembershipState, from: Int, isAnswer: Bool)
    case linkProbe(ProbeNumber, from: Int)
    case linkAnswer(ProbeNumber)
    case linkLost(Int)
  }

  /// `member` is an address for what comes by the network, a member's number for `wake`.
  private struct Scheduled: Comparable {
    let time: Duration
    let number: Int
    let receiver: Int
    let event: Event
    static func < (a: Scheduled, b: Scheduled) -> Bool { (a.time, a.number) < (b.time, b.number) }
    static func == (a: Scheduled, b: Scheduled) -> Bool { a.number == b.number }
  }

  /// What one member saw change.
  package struct Change: Sendable {
    package let time: Duration
    package let observer: Int
    package let member: Member
    /// Whether it was failed by mistake: the process ran, and had for a minute.
    package let isFalseFailure: Bool
  }

  var nodes: [Node] = []
  /// Which member has or had an address.
  var residents: [Int] = []
  package var network = SimulatedNetwork()
  package internal(set) var now = Duration.zero
  package private(set) var changes: [Change] = []
  /// Packets sent by all, and their bytes, headers of IP and UDP not counted.
  package private(set) var packets = 0
  package private(set) var bytes = 0
  /// Bytes of exchanges over peer links.
  package private(set) var exchangeBytes = 0
  /// Whether survivors adopt the runners of members that are gone, as a node does.
  package var adopts = false
  var recorder = PacketRecorder()
  var generator: SeededGenerator
  private let settings: GossipSettings
  private var heap = Heap<Scheduled>()
  private var scheduled = 0
  /// Changes with everything that `run(atMost:until:)` may look at.
  private var version = 0

  /// - Parameter isAcquainted: whether all know each other from the start, and have nothing to tell.
  package init(count: Int, seed: UInt64, settings: GossipSettings = .lan, isAcquainted: Bool = false) {
    generator = SeededGenerator(seed: seed)
    self.settings = settings
    for _ in 0..<count { add() }
    if isAcquainted { acquaint() }
  }

  package static func name(_ number: Int) -> MemberName { MemberName("n\(number)") }
  static func number(_ name: MemberName) -> Int { Int(name.rawValue.dropFirst())! }
  static func address(_ number: Int) -> MemberAddress { MemberAddress("m:\(number)") }
  static func number(_ address: MemberAddress) -> Int { Int(address.rawValue.dropFirst(2))! }

  /// A new process.
  /// - Returns: its number.
  @discardableResult mutating func add() -> Int {
    let number = nodes.count
    residents.append(number)
    nodes.append(Node(swim: process(number, at: residents.count - 1, incarnation: 1), address: residents.count - 1))
    rearm(number)
    return number
  }

  mutating func process(_ number: Int, at address: Int, incarnation: UInt64) -> SWIM {
    SWIM(
      name: Self.name(number), profile: MemberProfile(address: Self.address(address), api: "10.0.0.1:8082"),
      incarnation: Incarnation(incarnation), settings: settings, seed: generator.next(), now: now)
  }

  private mutating func acquaint() {
    var state = MembershipState()
    for node in nodes { state.news += node.swim.state.news }
    var first = nodes[0].swim
    _ = first.merge(state, at: now)
    for number in nodes.indices {
      nodes[number].swim.acquaint(with: first)
      rearm(number)
    }
  }

  // MARK: Time

  package mutating func run(for time: Duration) {
    let end = now + time
    while let next = heap.min, next.time <= end { step() }
    now = end
  }

  /// Runs until the condition holds, looking each 10 ms if anything changed.
  /// - Returns: how long that took; `nil` when it did not hold in time.
  package mutating func run(atMost time: Duration, until condition: (Simulator) -> Bool) -> Duration? {
    let start = now
    var seen = -1
    while now - start < time {
      if version != seen {
        seen = version
        if condition(self) { return now - start }
      }
      run(for: .milliseconds(10))
    }
    return condition(self) ? now - start : nil
  }

  private mutating func step() {
    let item = heap.removeMin()
    now = item.time
    if case .wake = item.event { return wake(item.receiver) }
    let number = residents[item.receiver]
    // Nobody is there any more, or another process is.
    guard nodes[number].address == item.receiver else { return }
    deliver(item.event, to: number)
  }

  private mutating func wake(_ number: Int) {
    switch nodes[number].condition {
    case .dead, .paused: return
    case .running, .starved: break
    }
    let time = now + nodes[number].clock
    if time >= nodes[number].swim.nextDeadline { perform(nodes[number].swim.advance(to: time), of: number) }
    rearm(number)
  }

  mutating func deliver(_ event: Event, to number: Int) {
    switch nodes[number].condition {
    case .dead: return
    case .paused, .starved: nodes[number].received.append(event)
    case .running:
      receive(event, number)
      rearm(number)
    }
  }

  private mutating func receive(_ event: Event, _ number: Int) {
    let time = now + nodes[number].clock
    switch event {
    case .wake: break
    case .packet(let bytes, let sender):
      guard let packet = try? Packet(decoding: bytes) else { fatalError("a member sent a malformed packet") }
      perform(nodes[number].swim.receive(packet, from: Self.address(sender), at: time), of: number)
    case .exchange(let state, let other, let isAnswer):
      if !isAnswer { exchange(from: number, with: other, isAnswer: true) }
      perform(nodes[number].swim.merge(state, at: time), of: number)
    case .linkProbe(let probe, let other): sendByLink(.linkAnswer(probe), from: number, to: other)
    case .linkAnswer(let probe): perform(nodes[number].swim.acknowledged(probe, at: time), of: number)
    case .linkLost(let other): perform(nodes[number].swim.linkLost(Self.name(other), at: time), of: number)
    }
  }

  // MARK: Directives

  mutating func perform(_ directives: [SWIM.Directive], of number: Int) {
    var isUnsettled = false
    for directive in directives {
      switch directive {
      case .send(let packet, let address): send(packet.encoded(), from: number, to: Self.number(address))
      case .exchange(let address): exchange(from: number, with: Self.number(address), isAnswer: false)
      case .probeByPeerLink(let probe, let name):
        let address = nodes[number].swim[name].map { Self.number($0.profile.address) }
        if let address { sendByLink(.linkProbe(probe, from: nodes[number].address), from: number, to: address) }
      case .changed(let member):
        changes.append(
          Change(time: now, observer: number, member: member, isFalseFailure: isFalse(member, by: number)))
        isUnsettled = true
      case .claimed, .recorded, .forgotten: isUnsettled = true
      case .leapRefused: break
      case .nameConflict, .incompatible: fatalError("\(directive)")
      }
    }
    if isUnsettled {
      touch()
      if adopts { adopt(by: number) }
    }
    rearm(number)
  }

  /// What conditions look at has changed.
  mutating func touch() { version += 1 }

  private func isFalse(_ member: Member, by observer: Int) -> Bool {
    guard member.state == .failed else { return false }
    let subject = nodes[Self.number(member.name)]
    guard subject.condition == .running else { return false }
    return now - max(subject.goodSince, nodes[observer].goodSince) >= .seconds(60)
  }

  private mutating func send(_ encoded: [UInt8], from number: Int, to address: Int) {
    precondition(encoded.count <= 1400, "a packet of \(encoded.count) bytes")
    packets += 1
    bytes += encoded.count
    recorder.record(encoded, from: nodes[number].address, to: address, using: &generator)
    post(.packet(encoded, from: nodes[number].address), from: number, to: address)
  }

  private mutating func exchange(from number: Int, with address: Int, isAnswer: Bool) {
    let state = nodes[number].swim.state
    exchangeBytes += state.encodedSize
    sendByLink(.exchange(state, from: nodes[number].address, isAnswer: isAnswer), from: number, to: address)
  }

  private mutating func sendByLink(_ event: Event, from number: Int, to address: Int) {
    // A link needs both ways.
    guard residents.indices.contains(address), network.isOpen(from: residents[address], to: number) else { return }
    post(event, from: number, to: address)
  }

  /// Sends, unless the sender is starved.
  private mutating func post(_ event: Event, from number: Int, to address: Int) {
    if nodes[number].condition == .starved {
      nodes[number].sent.append((event, to: address))
    } else {
      transmit(event, from: number, to: address)
    }
  }

  mutating func transmit(_ event: Event, from number: Int, to address: Int) {
    guard residents.indices.contains(address), network.isOpen(from: number, to: residents[address]) else { return }
    if case .packet = event {
      for delay in network.arrivals(using: &generator) { schedule(event, for: address, after: delay) }
    } else if let delay = network.linkDelay(using: &generator) {
      schedule(event, for: address, after: delay)
    }
  }

  mutating func schedule(_ event: Event, for receiver: Int, after delay: Duration) {
    scheduled += 1
    heap.insert(Scheduled(time: now + delay, number: scheduled, receiver: receiver, event: event))
  }

  /// Wakes a member when it next has something to do.
  mutating func rearm(_ number: Int) {
    let deadline = max(now, nodes[number].swim.nextDeadline - nodes[number].clock)
    guard deadline < nodes[number].wakeAt || nodes[number].wakeAt <= now else { return }
    nodes[number].wakeAt = deadline
    schedule(.wake, for: number, after: deadline - now)
  }
}
