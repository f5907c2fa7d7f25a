import EventLoop
import Gossip
import Logging

// Exchange of all that is known with one member, and what is remembered of it from one run to the next.

/// What an exchange begins with.
enum Exchange {
  /// All that is known; the same is wanted in return.
  static let asking: UInt8 = 1
  /// News; no more than "received" is wanted in return.
  static let telling: UInt8 = 2
}

enum ExchangeResult: Sendable {
  case done
  /// The address is this node's own.
  case isSelf
  case failed(String)
}

extension ClusterNode {
  /// Exchanges all that is known with whoever is at an address.
  @discardableResult
  func exchange(with address: MemberAddress) async -> ExchangeResult {
    guard let links, let gossip else { return .failed("this node is not in a cluster") }
    if address == introduction?.profile.address { return .isSelf }
    switch await links.dial(address, orUse: await name(at: address)) {
    case .failure(.isSelf): return .isSelf
    case .failure(let refusal):
      logger.debug("cannot exchange", metadata: ["address": "\(address)", "reason": "\(refusal)"])
      return .failed("\(address): \(refusal)")
    case .success(let link):
      if introduction?.standing != .member, let refusal = await findNamesake(link) { return refusal }
      // Once more when this node had to refute something: the other one shall hear that, too.
      for _ in 0..<2 {
        let before = await gossip.membership.me.incarnation
        let message = [Exchange.asking] + (await gossip.membership.state.encoded())
        let answer: [UInt8]
        do throws(ClusterError) {
          answer = try await link.request(.exchange, message, until: MonotonicClock.now + .seconds(10))
        } catch {
          return .failed("\(address): \(error)")
        }
        guard let theirs = try? MembershipState(decoding: answer) else {
          return .failed("\(address): it answers something else")
        }
        await gossip.perform { $0.merge(theirs, at: $1) }
        if await gossip.membership.me.incarnation == before { break }
      }
      return .done
    }
  }

  /// Before a node says anything of itself in a cluster: whether its name is a member's there.
  /// - Returns: why it must not join, if so.
  private func findNamesake(_ link: PeerLink) async -> ExchangeResult? {
    let nothing = [Exchange.asking] + MembershipState(news: [], claims: []).encoded()
    guard let answer = try? await link.request(.exchange, nothing, until: MonotonicClock.now + .seconds(10)),
      let known = try? MembershipState(decoding: answer)
    else { return .failed("\(link.peer.profile.address): it does not say who is there") }
    return await settleNamesakes(known.news)
  }

  /// Asks whoever is, by these news, a member of this node's name elsewhere.
  /// - Returns: why this node must not join, if so.
  private func settleNamesakes(_ news: [News]) async -> ExchangeResult? {
    for news in news where news.name == name && [.alive, .suspect].contains(news.state) {
      let address = news.profile.address
      guard address != introduction?.profile.address else { continue }
      // Only who is there says so in the handshake, and this node stops then (`settleName`).
      let result = await links?.dial(address, until: MonotonicClock.now + configuration.links.nameTime)
      if hasToStop { return .failed("\(address): it has this node's name") }
      switch result {
      // An earlier life of this node: nobody is there any more, or somebody else is.
      case .success, .failure(.notListening), .failure(.isSelf), .failure(.notOfThisCluster), .failure(.untrusted),
        .failure(.protocolVersions):
        continue
      // It is there, and yields.
      case .failure(.sameName): continue
      // It may stand still, or be cut off from this node alone: the cluster finds out whether it lives.
      case .failure(.timedOut), .failure(.connection), .failure(.nameTaken), .failure(.closed), nil:
        return .failed("\(address): a member of this node's name does not answer, and has not failed yet")
      }
    }
    return nil
  }

  private func name(at address: MemberAddress) async -> MemberName? {
    await gossip?.membership.members.first { $0.profile.address == address && $0.name != name }?.name
  }

  /// - Parameter message: begins at its second byte, with the kind of exchange.
  func answerExchange(_ message: [UInt8]) async -> [UInt8] {
    guard let gossip, message.count > 1, let state = try? MembershipState(decoding: Array(message[2...])) else {
      return []
    }
    // Whoever begins, it does not become a member beside one of its name.
    if introduction?.standing != .member, await settleNamesakes(state.news) != nil { return [] }
    await gossip.perform { $0.merge(state, at: $1) }
    return message[1] == Exchange.asking ? await gossip.membership.state.encoded() : []
  }

  // MARK: Memory

  enum MemoryState: Sendable {
    case written, planned, writing
    /// Being written, and out of date already.
    case stale
  }

  /// Writes what is to be remembered, soon.
  func planMemory() {
    switch memoryState {
    case .planned, .stale: break
    case .writing: memoryState = .stale
    case .written:
      guard !isClosed else { return }
      memoryState = .planned
      begin { node in
        // Also when it is cancelled: the last word of a node that stops.
        try? await node.loop.sleep(for: .seconds(1))
        await node.remember()
      }
    }
  }

  func remember() async {
    guard let gossip else { return }
    repeat {
      memoryState = .writing
      var next = PeerMemory()
      next.incarnation = await gossip.membership.me.incarnation
      next.peers = await gossip.membership.members.filter { $0.name != name && $0.state != .left }.map(
        \.profile.address)
      // Nobody is forgotten because the network is away.
      if next.peers.isEmpty { next.peers = memory.peers }
      memory = next
      let (written, path) = (next, configuration.memory)
      do { try await loop.blocking { try written.write(to: path) } } catch {
        logger.warning("cannot write what to remember of the cluster", metadata: ["reason": "\(error)"])
      }
    } while memoryState == .stale
    memoryState = .written
  }
}
