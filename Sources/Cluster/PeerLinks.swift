import EventLoop
import Gossip
import Logging

// The links of one node to all its peers: made, accepted, told apart, and made again. Two nodes have one link; should both
// have dialled at the same time, the one that the smaller name dialled stays.

actor PeerLinks {
  nonisolated let loop: EventLoop
  nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  let logger: Logger

  enum Event: Sendable {
    case up(PeerLink)
    /// The current link to a peer ended, and none replaces it.
    case down(MemberName, PeerLink.End)
    /// A handshake that came to nothing; from a stranger, or with other versions.
    case refused(LinkRefusal, from: String)
  }

  private var introduction: Introduction
  private var keyring: Keyring
  private let server: PeerLink.Server
  private let onEvent: @Sendable (Event) -> Void

  private var listener: TCPListener?
  private var links: [MemberName: PeerLink] = [:]
  /// Replaced ones that still finish their calls.
  private var retiring: [ObjectIdentifier: PeerLink] = [:]
  /// Handshakes under way.
  private var strangers: [ObjectIdentifier: HandshakeExchange] = [:]
  /// Connections under way.
  private var attempts: [MemberAddress: Task<Result<TCPStream, UVError>, Never>] = [:]
  private var dialling: [MemberAddress: Task<Result<PeerLink, LinkRefusal>, Never>] = [:]
  private(set) var isClosed = false

  /// Handshakes of strangers at a time; more connections are closed at once.
  private static let maximumStrangers = 256
  /// From the connection to the end of the handshake.
  static let handshakeTime = Duration.seconds(5)

  init(
    _ introduction: Introduction, _ keyring: Keyring, on loop: EventLoop, logger: Logger,
    server: @escaping PeerLink.Server,
    onEvent: @escaping @Sendable (Event) -> Void
  ) {
    self.introduction = introduction
    self.keyring = keyring
    self.loop = loop
    self.logger = logger
    self.server = server
    self.onEvent = onEvent
  }

  func listen(on address: SocketAddress) throws(UVError) -> SocketAddress {
    let listener = try TCPListener.listen(on: loop, address: address) { [unowned self] stream in
      self.assumeIsolated { $0.accepted(stream) }
    }
    self.listener = listener
    return listener.localAddress ?? address
  }

  func stopListening() {
    listener?.close()
    listener = nil
  }

  func use(_ introduction: Introduction) { self.introduction = introduction }
  /// For new links; those that exist have keys of their own.
  func use(_ keyring: Keyring) { self.keyring = keyring }

  /// The link to a peer, if there is one.
  func link(to name: MemberName) -> PeerLink? { links[name] }
  var names: [MemberName] { links.keys.sorted() }

  // MARK: Making

  /// A link to whoever is at an address.
  /// - Parameter name: who is believed to be there; if there is a link to it, that one will do.
  func dial(_ address: MemberAddress, orUse name: MemberName? = nil) async -> Result<PeerLink, LinkRefusal> {
    guard !isClosed else { return .failure(.closed) }
    if let name, let link = links[name], await link.isUsable { return .success(link) }
    if let present = dialling[address] { return await present.value }
    let task = Task(executorPreference: loop) { await self.connect(address) }
    dialling[address] = task
    let result = await task.value
    dialling[address] = nil
    return result
  }

  private func connect(_ address: MemberAddress) async -> Result<PeerLink, LinkRefusal> {
    let attempt = Task(executorPreference: loop) { [loop] () -> Result<TCPStream, UVError> in
      do throws(UVError) {
        return .success(try await TCPStream.connect(to: try SocketAddress(parsing: address.rawValue), on: loop))
      } catch {
        return .failure(error)
      }
    }
    attempts[address] = attempt
    let timer = Timer(on: loop)
    timer.schedule(after: Self.handshakeTime) { attempt.cancel() }
    let outcome = await attempt.value
    timer.close()
    attempts[address] = nil
    switch outcome {
    case .failure(let error): return .failure(attempt.isCancelled ? .timedOut : .connection(error.message))
    case .success(let stream):
      guard !isClosed else {
        stream.close()
        return .failure(.closed)
      }
      return await shakeHands(stream, .dialler)
    }
  }

  private func accepted(_ stream: TCPStream) {
    guard !isClosed, strangers.count < Self.maximumStrangers else { return stream.reset() }
    Task(executorPreference: loop) { await self.welcome(stream) }
  }

  private func welcome(_ stream: TCPStream) async {
    let address = stream.peerAddress?.description ?? "unknown"
    if case .failure(let refusal) = await shakeHands(stream, .listener), refusal != .isSelf, !isClosed {
      onEvent(.refused(refusal, from: address))
    }
  }

  private func shakeHands(_ stream: TCPStream, _ role: Handshake.Role) async -> Result<PeerLink, LinkRefusal> {
    let exchange = HandshakeExchange(stream, Handshake(role, introduction, keyring), on: loop)
    strangers[ObjectIdentifier(exchange)] = exchange
    let outcome = await exchange.run(within: Self.handshakeTime)
    strangers[ObjectIdentifier(exchange)] = nil
    switch outcome {
    case .failure(let refusal):
      stream.close()
      return .failure(isClosed ? .closed : refusal)
    case .success(let result):
      let peer = result.peer
      if let refusal = refusal(of: peer) {
        stream.close()
        return .failure(refusal)
      }
      let link = PeerLink(
        stream, peer: peer, isDialler: role == .dialler, sealing: result.sealing, opening: result.opening, on: loop,
        server: server, onEnd: { [weak self] link, end in self?.assumeIsolated { $0.ended(link, end) } })
      let chosen = await adopt(link)
      await link.start(result.rest)
      return .success(chosen)
    }
  }

  private func refusal(of peer: Introduction) -> LinkRefusal? {
    if isClosed { return .closed }
    if peer.instance == introduction.instance { return .isSelf }
    if peer.name == introduction.name { return .sameName(peer.profile) }
    let (theirs, ours) = (peer.profile.protocols, introduction.profile.protocols)
    if !theirs.overlaps(ours) { return .protocolVersions(theirs: theirs, ours: ours) }
    return nil
  }

  // MARK: Choosing

  /// Keeps a new link, or the one that is there.
  private func adopt(_ link: PeerLink) async -> PeerLink {
    let name = link.name
    guard let present = links[name], await present.isUsable else { return take(link) }
    // A node that was restarted has no use for its old links.
    guard present.peer.instance == link.peer.instance else {
      take(link)
      await present.end(.lost("its node was restarted"))
      return link
    }
    let isByTheSmaller = link.isDialler == (introduction.name < name)
    let presentIsByTheSmaller = present.isDialler == (introduction.name < name)
    // One more in the same direction: whoever dialled it had lost the other.
    if isByTheSmaller || !presentIsByTheSmaller {
      take(link)
      retiring[ObjectIdentifier(present)] = present
      await present.retire()
      return link
    }
    retiring[ObjectIdentifier(link)] = link
    await link.retire()
    return present
  }

  @discardableResult
  private func take(_ link: PeerLink) -> PeerLink {
    links[link.name] = link
    onEvent(.up(link))
    return link
  }

  private func ended(_ link: PeerLink, _ end: PeerLink.End) {
    retiring[ObjectIdentifier(link)] = nil
    guard links[link.name] === link else { return }
    links[link.name] = nil
    onEvent(.down(link.name, end))
  }

  // MARK: End

  /// A peer that is gone: all calls to it fail at once.
  func drop(_ name: MemberName) async {
    guard let link = links[name] else { return }
    await link.end(.lost("the node has failed"))
  }

  /// Says goodbye on all links; nothing of this waits on the loop afterwards but what is still to be sent.
  func close() async {
    isClosed = true
    listener?.close()
    for attempt in attempts.values { attempt.cancel() }
    for exchange in strangers.values { await exchange.cancel() }
    for link in Array(links.values) + Array(retiring.values) { await link.close() }
    for task in dialling.values { _ = await task.value }
  }
}
