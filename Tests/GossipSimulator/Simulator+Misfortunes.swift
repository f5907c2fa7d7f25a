// What befalls members: they join, leave, crash, are started again, stop for a while, starve, and see their clocks jump.

import Gossip

extension Simulator {
  /// Everyone exchanges what it knows with the first member.
  package mutating func joinAll() {
    for number in nodes.indices.dropFirst() { join(number, by: 0) }
  }

  private mutating func join(_ number: Int, by other: Int) {
    perform([.exchange(with: Self.address(nodes[other].address))], of: number)
  }

  /// A new member joins by one of those that live.
  /// - Returns: its number.
  @discardableResult package mutating func join(by other: Int) -> Int {
    let number = add()
    nodes[number].goodSince = now
    join(number, by: other)
    touch()
    return number
  }

  /// Everyone asks the first member now and then, wherever it is by now, as a name in the configuration says.
  package mutating func makeFirstTheSeed() {
    for number in nodes.indices { nodes[number].swim.seeds = [Self.address(nodes[0].address)] }
  }

  /// Those that know nobody ask the first one again.
  package mutating func retryJoins() {
    for number in living where number != 0 && nodes[number].swim.members.count == 1 { join(number, by: 0) }
  }

  /// The process is gone.
  /// - Parameter resetsLinks: its system closes its links; `false` when the whole machine is gone.
  package mutating func kill(_ number: Int, resetsLinks: Bool = false) {
    nodes[number].condition = .dead
    if resetsLinks { breakLinks(of: number) }
    touch()
  }

  /// A member that was killed is started again, at another address, with the incarnation that it kept.
  /// - Parameters:
  ///   - forgets: it lost its data directory.
  ///   - records: what it has on its disk.
  package mutating func restart(_ number: Int, by other: Int, forgets: Bool = false, records: [Record] = []) {
    residents.append(number)
    let incarnation = forgets ? 0 : nodes[number].swim.me.incarnation.rawValue
    nodes[number] = Node(
      swim: process(number, at: residents.count - 1, incarnation: incarnation + 1), address: residents.count - 1)
    nodes[number].swim.restore(records)
    nodes[number].goodSince = now
    rearm(number)
    join(number, by: other)
    touch()
  }

  /// All others lose their peer link to a member, which may live.
  package mutating func breakLinks(of number: Int) {
    for other in living where other != number {
      transmit(.linkLost(number), from: number, to: nodes[other].address)
    }
  }

  /// The process is stopped.
  package mutating func pause(_ number: Int) { nodes[number].condition = .paused }

  /// The process goes on.
  /// - Parameter timersFirst: whether it does what is due before it reads what came.
  package mutating func resume(_ number: Int, timersFirst: Bool = false) {
    guard nodes[number].condition == .paused else { return }
    nodes[number].condition = .running
    nodes[number].goodSince = now
    if timersFirst { perform(nodes[number].swim.advance(to: now + nodes[number].clock), of: number) }
    deliverWaiting(to: number)
    rearm(number)
  }

  /// Its messages wait from now on, both ways; its timers run.
  package mutating func starve(_ number: Int) {
    nodes[number].condition = .starved
    nodes[number].goodSince = .seconds(1 << 40)
  }

  /// What waited goes out, then what came is read.
  package mutating func feed(_ number: Int) {
    guard nodes[number].condition == .starved else { return }
    nodes[number].condition = .running
    for (event, address) in nodes[number].sent { transmit(event, from: number, to: address) }
    nodes[number].sent = []
    deliverWaiting(to: number)
  }

  private mutating func deliverWaiting(to number: Int) {
    let waiting = nodes[number].received
    nodes[number].received = []
    for event in waiting { deliver(event, to: number) }
  }

  /// The clock of a machine that slept goes on at a later time.
  package mutating func jump(_ number: Int, by time: Duration) {
    nodes[number].clock += time
    nodes[number].goodSince = now
    schedule(.wake, for: number, after: .zero)
  }

  package mutating func leave(_ number: Int) {
    perform(nodes[number].swim.leave(at: now + nodes[number].clock), of: number)
  }

  /// It has something new to say of itself.
  package mutating func changeProfile(of number: Int) {
    var profile = nodes[number].swim.me.profile
    profile.isDraining.toggle()
    perform(nodes[number].swim.update(profile, at: now + nodes[number].clock), of: number)
  }

  // MARK: Replay

  /// Keeps so many of the packets that are sent from now on.
  package mutating func record(_ count: Int) { recorder.capacity = count }

  /// All that was kept arrives once more, in another order, within some seconds.
  package mutating func replay(within time: Duration) {
    for packet in recorder.packets.shuffled(using: &generator) {
      // At whatever process has that name now.
      let address = nodes[residents[packet.to]].address
      let delay = time * Double.random(in: 0..<1, using: &generator)
      schedule(.packet(packet.bytes, from: packet.from), for: address, after: delay)
    }
  }
}
