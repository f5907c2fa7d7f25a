import EventLoop
import Gossip
import TLS

// The links of one node to all its peers. Two nodes have one link. When there is a second, because both dialled at the same
// time or one of them noticed before the other that the first had broken, the one with the smaller name decides alone: the
// newer stays, the older ends after its last call. How connections are made is in `PeerLinks+Connecting.swift`.

actor PeerLinks {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  enum Event: Sendable {
    case up(PeerLink)
    /// The last link to a peer ended.
    case down(MemberName, PeerLink.End)
    /// A handshake that came to nothing; from a stranger, or with other versions.
    case refused(LinkRefusal, from: String)
  }

  var introduction: Introduction
  private(set) var security: LinkSecurity
  private var keyring: Keyring
  private var certificates: LinkCertificates?
  let limits: LinkLimits
  private let server: PeerLink.Server
  let onEvent: @Sendable (Event) -> Void

  var listener: TCPListener?
  /// Every link that has not ended, by peer; the newest last.
  private var links: [MemberName: [PeerLink]] = [:]
  /// Those of which something is still left on the loop.
  private var ending: [ObjectIdentifier: PeerLink] = [:]
  /// Handshakes of those who came, in their order.
  var strangers: [UInt64: HandshakeExchange] = [:]
  var dialling: [MemberAddress: Dial] = [:]
  /// What goes on in the background, until `close`.
  private var tasks: [UInt64: Task<Void, Never>] = [:]
  private var lastNumber: UInt64 = 0
  private(set) var isClosed = false

  init(
    _ introduction: Introduction, _ keyring: Keyring, _ certificates: LinkCertificates? = nil, on loop: EventLoop,
    limits: LinkLimits,
    server: @escaping PeerLink.Server, onEvent: @escaping @Sendable (Event) -> Void
  ) {
    self.introduction = introduction
    self.keyring = keyring
    self.certificates = certificates
    security = LinkSecurity(keyring, certificates)
    self.loop = loop
    self.limits = limits
    self.server = server
    self.onEvent = onEvent
  }

  func use(_ introduction: Introduction) { self.introduction = introduction }
  /// For new links, beginning now: a link whose key is not in the ring any more ends at once. One with another than the
  /// first is replaced, by the end that made it, so that no call is lost when that key is taken out.
  func use(_ keyring: Keyring) {
    self.keyring = keyring
    judgeAgain()
  }
  /// The same for certificates: a link whose peer's was taken back ends at once.
  func use(_ certificates: LinkCertificates) {
    self.certificates = certificates
    judgeAgain()
  }

  private func judgeAgain() {
    security = LinkSecurity(keyring, certificates)
    for link in all {
      if let refusal = security.refusal(of: link.proof, by: link.name) {
        let reason = refusal == .notOfThisCluster ? "its key was taken out of the ring" : "\(refusal)"
        link.assumeIsolated { $0.end(.lost(reason)) }
      } else if !security.prefers(link.proof), link.isDialler {
        begin { _ = await $0.dial(link.peer.profile.address) }
      }
    }
  }

  /// The link to a peer on which calls can be made, if there is one.
  func link(to name: MemberName) -> PeerLink? {
    links[name]?.last { $0.assumeIsolated { $0.isUsable } }
  }
  /// Every link that has not ended.
  var all: [PeerLink] { links.values.flatMap(\.self) }
  /// All links on which calls can be made, one a peer.
  var usable: [PeerLink] { links.keys.sorted().compactMap { link(to: $0) } }

  // MARK: Choosing

  /// Makes a link of a connection after its handshake.
  func adopt(_ stream: TLSStream, _ outcome: HandshakeExchange.Outcome, isDialler: Bool) -> PeerLink {
    let version = min(outcome.peer.profile.protocols.upperBound, introduction.profile.protocols.upperBound)
    let link = PeerLink(
      stream, peer: outcome.peer, proof: outcome.proof, version: version, isDialler: isDialler, on: loop,
      limits: limits, server: server, onEnd: { [weak self] link, end in self?.assumeIsolated { $0.ended(link, end) } })
    let (name, others) = (link.name, links[link.name] ?? [])
    if let member = self.link(to: name), member.peer.instance != link.peer.instance {
      // No call goes to it before it is known that the member of this name is no more.
      links[name] = [link] + others
      begin { await $0.judge(link, against: member) }
    } else {
      links[name] = others + [link]
      replace(others, by: link)
    }
    onEvent(.up(link))
    link.assumeIsolated { $0.start(outcome.rest) }
    return link
  }

  /// Who is linked keeps its name: another process comes under it, whatever it says of itself, and is let in if the
  /// member answers no more on any link.
  private func judge(_ newcomer: PeerLink, against member: PeerLink) async {
    var asked = [member]
    while true {
      let lives = await asked.last!.ping(within: limits.nameTime)
      guard !isClosed, let all = links[newcomer.name], all.contains(where: { $0 === newcomer }) else { return }
      if lives {
        onEvent(.refused(.nameTaken(by: member.peer.profile.address), from: newcomer.peer.profile.address.rawValue))
        return await newcomer.retire()
      }
      // One link may end without the member: another has taken its place.
      let next = all.last { link in
        link.peer.instance == member.peer.instance && link.assumeIsolated { $0.isUsable }
          && !asked.contains { $0 === link }
      }
      if let next {
        asked.append(next)
      } else {
        let others = all.filter { $0 !== newcomer }
        links[newcomer.name] = others + [newcomer]
        return replace(others, by: newcomer)
      }
    }
  }

  private func replace(_ others: [PeerLink], by link: PeerLink) {
    let name = link.name
    for other in others {
      if other.peer.instance != link.peer.instance {
        other.assumeIsolated { $0.end(.lost("its node was restarted")) }
      } else if introduction.name < name {
        other.assumeIsolated { $0.retire() }
      }
    }
  }

  private func ended(_ link: PeerLink, _ end: PeerLink.End) {
    let name = link.name
    links[name]?.removeAll { $0 === link }
    if links[name]?.isEmpty == true { links[name] = nil }
    ending[ObjectIdentifier(link)] = link
    begin { links in
      await link.closed()
      links.ending[ObjectIdentifier(link)] = nil
    }
    if self.link(to: name) == nil { onEvent(.down(name, end)) }
  }

  // MARK: End

  /// A peer that has failed: all calls to it fail at once. A link to another life of it, restarted meanwhile, stays.
  func drop(_ name: MemberName, startedAt: UInt64) {
    for link in links[name] ?? [] where link.peer.profile.startedAt == startedAt {
      link.assumeIsolated { $0.end(.lost("the node has failed")) }
    }
  }

  /// A peer that leaves: no more calls are made, those under way end as they may.
  func retire(_ name: MemberName) {
    for link in links[name] ?? [] { link.assumeIsolated { $0.retire() } }
  }

  /// Says goodbye on all links. Nothing of this is left on the loop afterwards.
  func close() async {
    beginClosing()
    while let task = tasks.values.first { await task.value }
  }

  private func beginClosing() {
    isClosed = true
    stopListening()
    for dial in dialling.values {
      dial.attempt?.cancel()
      dial.exchange?.assumeIsolated { $0.cancel() }
    }
    for stranger in strangers.values { stranger.assumeIsolated { $0.cancel() } }
    for link in all + ending.values { link.assumeIsolated { $0.close(within: limits.goodbyeTime) } }
  }

  func takeNumber() -> UInt64 {
    lastNumber += 1
    return lastNumber
  }

  /// Runs something in the background; `close` waits for its end.
  func begin(_ body: @escaping @Sendable (isolated PeerLinks) async -> Void) {
    let number = takeNumber()
    tasks[number] = Task(executorPreference: loop) { await self.carryOut(number, body) }
  }

  private func carryOut(_ number: UInt64, _ body: @Sendable (isolated PeerLinks) async -> Void) async {
    await body(self)
    tasks[number] = nil
  }
}
