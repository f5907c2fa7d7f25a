import EventLoop
import Gossip
import Logging

// How a node finds the others: by its seeds, or by what it remembers of a former run, and again whenever it is alone.

/// What an exchange begins with.
enum Exchange {
  /// All that is known; the same is wanted in return.
  static let asking: UInt8 = 1
  /// News; no more than "received" is wanted in return.
  static let telling: UInt8 = 2
}

extension ClusterNode {
  /// Exchanges what is known with a seed or a former peer. Returns when that was done, or after the time that the
  /// configuration gives it; the search goes on then.
  /// - Returns: whether it found anyone.
  @discardableResult
  public func join() async -> Bool {
    let deadline = MonotonicClock.now + configuration.joinTimeout
    var isFirst = true
    var isAlone = configuration.seeds.isEmpty
    while !isClosed, await !seek() {
      if !isAlone { isAlone = await isOnlySeed() }
      if isAlone || MonotonicClock.now >= deadline { break }
      if isFirst { logger.info("no seed answers yet", metadata: ["seeds": "\(seedNames)"]) }
      isFirst = false
      try? await loop.sleep(for: .milliseconds(500))
    }
    let others = await peers().count
    let found = others > 0
    hasJoined = true
    if found {
      logger.info("joined", metadata: ["members": "\(others + 1)"])
    } else if !isAlone {
      logger.warning("no seed answered, this node goes on alone and keeps trying", metadata: ["seeds": "\(seedNames)"])
    }
    begin { await $0.keepSeeking() }
    return found
  }

  private var seedNames: String { configuration.seeds.map { "\($0.host):\($0.port)" }.joined(separator: ", ") }

  private func peers() async -> [Member] { await members.filter { $0.isPresent && $0.name != name } }

  /// Alone, it tries again and again: whoever was separated from all others finds them, even after they forgot it.
  private func keepSeeking() async {
    while !isClosed {
      guard (try? await loop.sleep(for: .seconds(5))) != nil else { return }
      if await peers().isEmpty { await seek() }
    }
  }

  /// Exchanges with all seeds and remembered peers at once; whether one answered.
  @discardableResult
  private func seek() async -> Bool {
    let addresses = await addresses()
    guard !isClosed, !addresses.isEmpty else { return false }
    let (outcomes, outcome) = AsyncStream<Bool>.makeStream()
    // One that does not answer shall not keep this node from what another knows.
    for address in addresses { begin { outcome.yield(await $0.exchange(with: address)) } }
    var waiting = addresses.count
    for await found in outcomes {
      waiting -= 1
      if found || waiting == 0 { return found }
    }
    return false
  }

  /// Where others may be: seeds, whose names are looked up each time, and what is remembered.
  private func addresses() async -> [MemberAddress] {
    var found: [MemberAddress] = []
    for seed in configuration.seeds {
      do throws(UVError) {
        found += try await SocketAddress.resolve(host: seed.host, port: seed.port, on: loop).map {
          MemberAddress($0.description)
        }
      } catch {
        logger.warning(
          "a seed cannot be looked up", metadata: ["seed": "\(seed.host):\(seed.port)", "reason": "\(error)"])
      }
    }
    found += memory.peers.filter { !found.contains($0) }
    let own = introduction?.profile.address
    return found.filter { $0 != own }
  }

  /// Whether all seeds are this node itself.
  private func isOnlySeed() async -> Bool {
    var isOnly = !configuration.seeds.isEmpty
    for address in await addresses() where !memory.peers.contains(address) {
      if case .failure(.isSelf)? = await links?.dial(address) { continue }
      isOnly = false
    }
    return isOnly
  }

  // MARK: Exchange

  /// Exchanges all that is known with whoever is at an address; whether that was done.
  @discardableResult
  func exchange(with address: MemberAddress) async -> Bool {
    guard let links, let gossip else { return false }
    switch await links.dial(address, orUse: await name(at: address)) {
    case .failure(.sameName(let profile)):
      compareAge(profile)
      return false
    case .failure(let refusal):
      logger.debug("cannot exchange", metadata: ["address": "\(address)", "reason": "\(refusal)"])
      return false
    case .success(let link):
      // Once more when this node had to refute something: the other one shall hear that, too.
      for _ in 0..<2 {
        let before = await gossip.membership.me.incarnation
        let state = await gossip.membership.state.encoded()
        guard let answer = try? await link.request(.exchange, [Exchange.asking] + state, within: .seconds(10)),
          let theirs = try? MembershipState(decoding: answer)
        else { return false }
        await gossip.perform { $0.merge(theirs, at: $1) }
        if await gossip.membership.me.incarnation == before { break }
      }
      return true
    }
  }

  private func name(at address: MemberAddress) async -> MemberName? {
    await gossip?.membership.members.first { $0.profile.address == address && $0.name != name }?.name
  }

  func answerExchange(_ message: [UInt8]) async -> [UInt8] {
    guard let gossip, let kind = message.first, let state = try? MembershipState(decoding: Array(message.dropFirst()))
    else { return [] }
    await gossip.perform { $0.merge(state, at: $1) }
    return kind == Exchange.asking ? await gossip.membership.state.encoded() : []
  }

  // MARK: Memory

  /// Writes what is to be remembered, soon.
  func planMemory() {
    guard !isWritingMemory, !isClosed else { return }
    isWritingMemory = true
    begin { node in
      // Also when it is cancelled: the last word of a node that stops.
      try? await node.loop.sleep(for: .seconds(1))
      await node.remember()
    }
  }

  func remember() async {
    isWritingMemory = false
    guard let gossip else { return }
    var next = PeerMemory()
    next.incarnation = await gossip.membership.me.incarnation
    next.peers = await gossip.membership.members.filter { $0.name != name && $0.state != .left }.map(\.profile.address)
    // Nobody is forgotten because the network is away.
    if next.peers.isEmpty { next.peers = memory.peers }
    memory = next
    let (written, path) = (next, configuration.memory)
    do { try await loop.blocking { try written.write(to: path) } } catch {
      logger.warning("cannot write what to remember of the cluster", metadata: ["reason": "\(error)"])
    }
  }
}
