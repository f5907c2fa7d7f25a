import EventLoop
import Gossip
import Logging

// One node's part in the cluster: gossip over UDP, peer links over TCP at the same port number, and what each tells the
// other. A broken link makes gossip ask; a failed member loses its link; a new one gets a link. How it gets in is in
// `ClusterNode+Joining.swift`.

public actor ClusterNode {
  public struct Configuration: Sendable {
    public var name: MemberName
    /// The cluster's name; members of another are strangers.
    public var cluster: String
    /// UDP and TCP; port 0 lets the system choose.
    public var listen: SocketAddress
    /// What peers are told; `nil` for the address of `listen`, or of this machine when that is every address.
    public var advertise: SocketAddress?
    public var seeds: [(host: String, port: UInt16)] = []
    public var settings = GossipSettings.lan
    /// At least one, of 32 bytes; the first seals.
    public var keys: [[UInt8]]
    /// With them, links are made by certificates; the keys go on to seal packets.
    public var certificates: LinkCertificates?
    public var joinTimeout = Duration.seconds(10)
    /// Told to peers: where the API is, and of what zone and version this node is.
    public var api = ""
    public var zone = ""
    public var version = ""
    /// Versions of the protocol to speak; fewer than are known only to hold a cluster at an old one.
    public var protocols = SWIM.supportedProtocols
    /// The file of `PeerMemory`.
    public var memory: String
    var links = LinkLimits()

    public init(name: MemberName, cluster: String, listen: SocketAddress, keys: [[UInt8]], memory: String) {
      self.name = name
      self.cluster = cluster
      self.listen = listen
      self.keys = keys
      self.memory = memory
    }
  }

  public enum Event: Sendable {
    /// A member is new, or has another state or profile.
    case member(Member)
    /// Who owns a runner, as far as is known, changed.
    case claim(RunnerClaim)
    /// What does not work between this node and peers that are there; said again now and then.
    case faults([PathFault])
    /// This node cannot stay; the reason in words.
    case mustStop(String)
  }

  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  public nonisolated let configuration: Configuration
  public nonisolated let name: MemberName
  let logger: Logger
  private let onEvent: @Sendable (Event) -> Void
  private let server: @Sendable ([UInt8]) async -> [UInt8]

  let records: RecordKeeper?
  private(set) var gossip: GossipNode?
  private(set) var links: PeerLinks?
  var introduction: Introduction?
  var keyring: Keyring
  /// Peers for which a link is being made, until they have one or are gone.
  private var connecting: Set<MemberName> = []
  public private(set) var isClosed = false
  /// Another node keeps this one's name: this one may not take part.
  public private(set) var hasToStop = false
  private var refusals = RefusalLog()
  private var leaps = RefusalLog()
  var faults = PathFaults()
  /// What the last attempts to make links failed with.
  var dialFailures: [MemberName: String] = [:]
  /// Why it is alone though it was told of others.
  var solitude = Solitude()
  /// Whether it looks for others by itself, now and then.
  var isSeeking = false
  /// Where each seed was when it was last looked up.
  var seedAddresses: [String: [MemberAddress]] = [:]
  var memory: PeerMemory
  var memoryState = MemoryState.written
  /// What goes on in the background, until `close`.
  private var tasks: [UInt64: Task<Void, Never>] = [:]
  private var nextTask: UInt64 = 0

  /// - Parameters:
  ///   - records: keeps the records on the disk; without it they last as long as this node.
  ///   - server: carries out a distributed call that a peer sent (`ClusterSystem.carryOut`), which begins at the second
  ///     byte.
  ///   - onEvent: on the loop.
  /// - Throws: `Keyring.InvalidKey`.
  public init(
    _ configuration: Configuration, records: RecordKeeper? = nil, on loop: EventLoop, logger: Logger,
    server: @escaping @Sendable ([UInt8]) async -> [UInt8], onEvent: @escaping @Sendable (Event) -> Void
  ) throws(Keyring.InvalidKey) {
    self.configuration = configuration
    name = configuration.name
    self.records = records
    self.loop = loop
    self.logger = logger
    self.server = server
    self.onEvent = onEvent
    keyring = try Keyring(keys: configuration.keys, cluster: configuration.cluster)
    memory = PeerMemory(reading: configuration.memory)
  }

  // MARK: Start

  /// Takes the port and begins to answer.
  /// - Throws: what bind(2) or listen(2) refused.
  public func start() async throws(UVError) {
    var introduction = Introduction(
      name: name,
      profile: MemberProfile(
        address: MemberAddress("0.0.0.0:0"), api: configuration.api, zone: configuration.zone,
        version: configuration.version, protocols: configuration.protocols,
        startedAt: UInt64(max(0, MonotonicClock.wallMilliseconds))),
      instance: UInt64.random(in: 1 ... .max), standing: .joining)
    let links = PeerLinks(
      introduction, keyring, configuration.certificates, on: loop, limits: configuration.links,
      server: { [weak self] channel, message in await self?.serve(channel, message) ?? [] },
      onEvent: { [weak self] event in self?.assumeIsolated { $0.happened(event) } })
    // Nobody is received before this node can introduce itself: that takes a turn of the loop.
    let (bound, socket) = try bind(links)
    let address = MemberAddress(advertised(bound).description)
    introduction.profile.address = address
    await links.use(introduction)
    memory.incarnation = Incarnation(memory.incarnation.rawValue + 1)
    await records?.attach(self)
    var swim = SWIM(
      name: name, profile: introduction.profile, incarnation: memory.incarnation, settings: configuration.settings,
      maximumPacketBytes: 1400 - Keyring.overhead, records: records?.rules ?? RecordRules(),
      seed: UInt64.random(in: .min ... .max), now: GossipNode.now, date: GossipNode.date)
    swim.restore(await records?.records ?? [])
    let gossip = GossipNode(swim, keyring: keyring, on: loop) { [weak self] directive in
      self?.assumeIsolated { $0.follow(directive) }
    }
    self.introduction = introduction
    self.links = links
    self.gossip = gossip
    // What was stated since they were asked for.
    for record in await records?.records ?? [] { await gossip.perform { $0.record(record, at: $1) } }
    await gossip.start(socket)
    begin { await $0.watchLinks() }
    await remember()
    logger.info(
      "cluster port open",
      metadata: ["cluster": "\(configuration.cluster)", "listen": "\(bound)", "advertise": "\(address)"])
  }

  /// Where peers find this node. An advertised port 0 is the one that the system chose.
  private func advertised(_ bound: SocketAddress) -> SocketAddress {
    guard let advertise = configuration.advertise else { return bound.reachable(on: loop) }
    guard advertise.port == 0 else { return advertise }
    return (try? SocketAddress(host: advertise.host, port: bound.port)) ?? advertise
  }

  /// TCP and UDP at one port number.
  private func bind(_ links: PeerLinks) throws(UVError) -> (SocketAddress, UDPSocket) {
    var tries = configuration.listen.port == 0 ? 16 : 1
    while true {
      let bound = try links.assumeIsolated { [configuration] links in
        Result { () throws(UVError) in try links.listen(on: configuration.listen) }
      }.get()
      do throws(UVError) {
        let socket = try UDPSocket.bind(to: bound, on: loop) { [weak self] datagram in
          self?.assumeIsolated { me in me.gossip?.assumeIsolated { $0.received(datagram) } }
        }
        return (bound, socket)
      } catch {
        links.assumeIsolated { $0.stopListening() }
        tries -= 1
        if tries == 0 { throw error }
      }
    }
  }

  // MARK: What is known

  /// Every member, this node among them, by name.
  public var members: [Member] {
    get async { await gossip?.membership.members ?? [] }
  }
  public var healthScore: Int {
    get async { await gossip?.membership.healthScore ?? 0 }
  }
  public var statistics: GossipNode.Statistics {
    get async { await gossip?.statistics ?? .init() }
  }
  public func member(_ name: MemberName) async -> Member? { await gossip?.member(name) }
  public func claim(of runner: String) async -> RunnerClaim? { await gossip?.claim(of: runner) }
  /// Peers with whom there is a link.
  public var linked: [MemberName] {
    get async { await links?.usable.map(\.name) ?? [] }
  }

  /// Says who owns a runner; to peers with a link at once, so that they know before the caller goes on.
  public func announce(_ claims: [RunnerClaim]) async {
    await gossip?.perform { swim, now in claims.flatMap { swim.claim($0, at: now) } }
    await tell(MembershipState(news: [], claims: claims))
  }

  /// News for all peers with a link, and their receipts, within a second; gossip reaches the others.
  func tell(_ state: MembershipState) async {
    guard let links else { return }
    let message = [Exchange.telling] + state.encoded()
    let deadline = MonotonicClock.now + .seconds(1)
    let peers = await links.usable
    await withDiscardingTaskGroup { group in
      for link in peers { group.addTask { _ = try? await link.request(.exchange, message, until: deadline) } }
    }
  }

  /// Takes no runners any more, or does so again; peers hear of it.
  public func setDraining(_ isDraining: Bool) async {
    await gossip?.perform { swim, now in
      var profile = swim.me.profile
      profile.isDraining = isDraining
      return swim.update(profile, at: now)
    }
    await tellOfSelf()
  }

  /// New keys, for all packets and for links that are made from now on.
  public func use(keys: [[UInt8]]) async throws(Keyring.InvalidKey) {
    keyring = try Keyring(keys: keys, cluster: configuration.cluster)
    await gossip?.use(keyring)
    await links?.use(keyring)
  }

  /// Other certificates, for links that are made from now on; those whose peer's is not believed any more end at once.
  public func use(_ certificates: LinkCertificates) async { await links?.use(certificates) }

  // MARK: Calls

  /// A distributed call.
  /// - Parameter limit: how long it may take, the time to make a link included; `nil` for as long as the link lives.
  public func send(_ message: [UInt8], to peer: MemberName, within limit: Duration?) async throws(ClusterError)
    -> [UInt8]
  {
    let deadline = limit.map { MonotonicClock.now + $0 }
    let link = try await link(to: peer, until: deadline)
    return try await link.request(.invocation, message, until: deadline)
  }

  private func link(to peer: MemberName, until deadline: Duration?) async throws(ClusterError) -> PeerLink {
    guard let links else { throw .unreachable(peer, reason: "this node is not in a cluster") }
    let member = await gossip?.member(peer)
    if let member, !member.isPresent {
      throw .unreachable(peer, reason: "\(peer) has \(member.state == .left ? "left" : "failed")")
    }
    if let link = await links.link(to: peer) { return link }
    guard let member else { throw .unreachable(peer, reason: "\(peer) is not a member") }
    let result = await links.dial(member.profile.address, until: deadline)
    if Task.isCancelled { throw .cancelled }
    switch result {
    case .success(let link) where link.name == peer: return link
    case .success(let link): throw .unreachable(peer, reason: "\(member.profile.address) is \(link.name)")
    case .failure(let refusal): throw .unreachable(peer, reason: "\(refusal)")
    }
  }

  private func serve(_ channel: LinkChannel, _ message: [UInt8]) async -> [UInt8] {
    switch channel {
    case .invocation: await server(message)
    case .exchange: await answerExchange(message)
    }
  }

  // MARK: What happens

  private func happened(_ event: PeerLinks.Event) {
    switch event {
    case .up(let link):
      logger.debug(
        "peer link", metadata: ["peer": "\(link.name)", "dialled": "\(link.isDialler)", "version": "\(link.version)"])
    case .down(let peer, let end):
      guard !isClosed else { return }
      if case .lost(let reason) = end {
        logger.info("a peer link broke", metadata: ["peer": "\(peer)", "reason": "\(reason)"])
        tell { $0.linkLost(peer, at: $1) }
        connect(peer)
      } else {
        // A peer that wants no link, as it keeps one to another of this name, is not asked again at once.
        connect(peer, after: Self.pauseAfterGoodbye)
      }
    case .refused(let refusal, let address): refused(refusal, address)
    }
  }

  private func refused(_ refusal: LinkRefusal, _ address: String) {
    if case .sameName(let other) = refusal { settleName(other) }
    guard let omitted = refusals.admit(at: MonotonicClock.now) else { return }
    logger.warning(
      "a connection was refused",
      metadata: ["peer": "\(address)", "reason": "\(refusal)", "others": "\(omitted)"])
  }

  /// Two live nodes have this name: one stops. Both ends of the connection see the same two introductions.
  private func settleName(_ other: Introduction) {
    guard let introduction, introduction.yields(to: other), !hasToStop else { return }
    hasToStop = true
    onEvent(
      .mustStop(
        """
        another live node at \(other.profile.address) is named \(name) as well, and keeps the name; give this one, at \
        \(introduction.profile.address), another name
        """))
  }

  /// It takes part from now on, or works alone.
  func stand(_ standing: Introduction.Standing) async {
    guard let present = introduction, standing < present.standing, !hasToStop else { return }
    introduction!.standing = standing
    await links?.use(introduction!)
  }

  private func tell(_ body: sending (inout SWIM, Duration) -> [SWIM.Directive]) {
    gossip?.assumeIsolated { $0.perform(body) }
  }

  func tell(of faults: [PathFault]) { onEvent(.faults(faults)) }

  private func follow(_ directive: SWIM.Directive) {
    guard !isClosed else { return }
    switch directive {
    case .send: break
    case .changed(let member): changed(member)
    case .claimed(let claim): onEvent(.claim(claim))
    case .forgotten(let peer): forgotten(peer)
    case .leapRefused(let leap):
      guard let omitted = leaps.admit(at: MonotonicClock.now) else { return }
      logger.warning(
        "a statement was refused: its counter is higher than time allows",
        metadata: [
          "about": "\(leap.subject)", "counter": "\(leap.value)", "source": "\(leap.source)", "others": "\(omitted)",
        ])
    case .recorded(let record): records?.assumeIsolated { $0.learned(record) }
    case .probeByPeerLink(let number, let peer): begin { await $0.probe(peer, number) }
    case .exchange(let address): begin { await $0.exchange(with: address) }
    case .nameConflict(let member):
      guard member.name == name else { return }
      // Whoever has a name like this node's says so in the handshake.
      begin { _ = await $0.links?.dial(member.profile.address) }
    case .incompatible(let member):
      logger.warning(
        "a member speaks other versions of the protocol",
        metadata: ["member": "\(member.name)", "versions": "\(member.profile.protocols)"])
    }
  }

  private func changed(_ member: Member) {
    guard member.name != name else { return }
    logger.info(
      "member \(member.state)", metadata: ["member": "\(member.name)", "address": "\(member.profile.address)"])
    switch member.state {
    case .alive, .suspect:
      connect(member.name)
      if introduction?.standing == .alone { begin { await $0.stand(.member) } }
    case .failed: links?.assumeIsolated { $0.drop(member.name, startedAt: member.profile.startedAt) }
    // It may still have to answer what it was asked.
    case .left: links?.assumeIsolated { $0.retire(member.name) }
    }
    onEvent(.member(member))
    planMemory()
  }

  private func forgotten(_ peer: MemberName) {
    logger.notice("member forgotten", metadata: ["member": "\(peer)"])
    begin { node in
      // Whoever keeps a list of members looks at it again.
      if let me = await node.member(node.name) { node.onEvent(.member(me)) }
    }
    planMemory()
  }

  private func probe(_ peer: MemberName, _ number: ProbeNumber) async {
    guard let link = await links?.link(to: peer), await link.ping() else { return }
    tell { $0.acknowledged(number, at: $1) }
  }

  // MARK: Links

  /// Sees to it that there is a link to a peer as long as it is a member. The smaller name dials; the other one only when
  /// it has waited in vain.
  private func connect(_ peer: MemberName, after pause: Duration = .zero) {
    guard !isClosed, connecting.insert(peer).inserted else { return }
    begin { await $0.keepConnecting(peer, after: max(pause, .milliseconds($0.name < peer ? 0 : 500))) }
  }

  private static var pauseAfterGoodbye: Duration { .milliseconds(500) }

  private func keepConnecting(_ peer: MemberName, after first: Duration) async {
    var pause = first
    while true {
      if pause > .zero { try? await loop.sleep(for: pause) }
      guard let address = await addressToConnect(peer) else { break }
      if case .failure(let refusal)? = await links?.dial(address) { dialFailures[peer] = "\(address): \(refusal)" }
      pause = min(max(pause * 2, .milliseconds(100)), .seconds(5))
    }
  }

  /// Where to connect to a peer; `nil`, and it is no longer connected to, when there is no need.
  private func addressToConnect(_ peer: MemberName) async -> MemberAddress? {
    if !isClosed, let member = await gossip?.member(peer), member.isPresent, await links?.link(to: peer) == nil {
      return member.profile.address
    }
    // At once: a link that is lost from now on begins it anew.
    connecting.remove(peer)
    return nil
  }

  // MARK: End

  /// Tells the peers that this node goes on purpose.
  public func leave() async {
    guard let gossip, !isClosed else { return }
    await gossip.perform { $0.leave(at: $1) }
    await tellOfSelf()
  }

  private func tellOfSelf() async {
    let news = await gossip?.membership.state.news.filter { $0.name == name } ?? []
    await tell(MembershipState(news: news, claims: []))
  }

  public func close() async {
    guard !isClosed else { return }
    isClosed = true
    for task in tasks.values { task.cancel() }
    await links?.close()
    await gossip?.close()
    for task in tasks.values { await task.value }
  }

  /// Runs something in the background; `close` cancels it and waits for its end.
  func begin(_ body: @escaping @Sendable (isolated ClusterNode) async -> Void) {
    guard !isClosed else { return }
    nextTask += 1
    let number = nextTask
    tasks[number] = Task(executorPreference: loop) { await self.carryOut(number, body) }
  }

  private func carryOut(_ number: UInt64, _ body: @Sendable (isolated ClusterNode) async -> Void) async {
    await body(self)
    tasks[number] = nil
  }
}
