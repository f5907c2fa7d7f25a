import EventLoop
import Gossip

// How connections are made, and how those that others make are received.

extension PeerLinks {
  /// A connection under way.
  struct Dial {
    /// How it ends; others may wait for it too.
    let link: Promise<Result<PeerLink, LinkRefusal>>
    /// Until it is connected, and from then on.
    var attempt: Task<Result<TCPStream, UVError>, Never>?
    var exchange: HandshakeExchange?
  }

  // MARK: Dialling

  /// A link to whoever is at an address, on which calls can be made.
  /// - Parameters:
  ///   - name: who is believed to be there; if there is a link to it, that one will do.
  ///   - deadline: how long the caller waits. Others may wait longer for the same connection.
  func dial(
    _ address: MemberAddress, orUse name: MemberName? = nil, until deadline: Duration? = nil
  ) async -> Result<PeerLink, LinkRefusal> {
    if let link = name.flatMap({ link(to: $0) }) { return .success(link) }
    var result = await connection(to: address, until: deadline)
    // When both dial, the other end may have chosen the other link by now.
    for _ in 0..<3 {
      guard case .success(let made) = result, await !made.isUsable else { break }
      if let link = link(to: made.name) {
        // Or it keeps one to another node of that name, which is not at this address.
        let (theirs, mine) = (link.peer, made.peer)
        let isSame = theirs.instance == mine.instance || theirs.profile.address == mine.profile.address
        return isSame ? .success(link) : .failure(.nameTaken(by: theirs.profile.address))
      }
      result = await connection(to: address, until: deadline)
    }
    return result
  }

  /// Waits for the connection to an address that is being made, or makes one.
  private func connection(
    to address: MemberAddress, until deadline: Duration?
  ) async -> Result<PeerLink, LinkRefusal> {
    guard !isClosed else { return .failure(.closed) }
    guard !Task.isCancelled else { return .failure(.timedOut) }
    if dialling[address] == nil {
      dialling[address] = Dial(link: Promise(on: loop))
      begin { await $0.connect(address) }
    }
    let time = deadline.map { $0 - MonotonicClock.now }
    return await dialling[address]!.link.valueUnlessCancelled(atMost: time) ?? .failure(.timedOut)
  }

  private func connect(_ address: MemberAddress) async {
    let result = await link(at: address)
    if case .failure(let refusal) = result, refusal != .timedOut { tell(refusal, address.rawValue) }
    dialling.removeValue(forKey: address)!.link.resolve(result)
  }

  private func link(at address: MemberAddress) async -> Result<PeerLink, LinkRefusal> {
    guard let target = try? SocketAddress(parsing: address.rawValue) else {
      return .failure(.connection("\(address) is no address"))
    }
    let attempt = Task(executorPreference: loop) { [loop] () -> Result<TCPStream, UVError> in
      do throws(UVError) { return .success(try await TCPStream.connect(to: target, on: loop)) } catch {
        return .failure(error)
      }
    }
    dialling[address]!.attempt = attempt
    if isClosed { attempt.cancel() }
    let timer = Timer(on: loop)
    timer.schedule(after: limits.handshakeTime) { attempt.cancel() }
    let outcome = await attempt.value
    timer.close()
    dialling[address]!.attempt = nil
    switch outcome {
    case .failure where attempt.isCancelled: return .failure(isClosed ? .closed : .timedOut)
    case .failure(let error):
      return .failure(error.code == UVError.connectionRefused ? .notListening : .connection(error.message))
    case .success(let stream):
      guard !isClosed else {
        stream.close()
        return .failure(.closed)
      }
      let exchange = HandshakeExchange(stream, .dialler, introduction, security, on: loop)
      dialling[address]!.exchange = exchange
      return await shakeHands(exchange, isDialler: true)
    }
  }

  // MARK: Listening

  func listen(on address: SocketAddress) throws(UVError) -> SocketAddress {
    let segment = address.isLoopback ? nil : limits.segmentBytes
    let listener = try TCPListener.listen(on: loop, address: address, segment: segment) { stream in
      self.assumeIsolated { $0.accepted(stream) }
    }
    self.listener = listener
    return listener.localAddress ?? address
  }

  func stopListening() {
    listener?.close()
    listener = nil
  }

  private func accepted(_ stream: TCPStream) {
    guard !isClosed else { return stream.reset() }
    let exchange = HandshakeExchange(stream, .listener, introduction, security, on: loop)
    let from = stream.peerAddress?.description ?? "unknown"
    if strangers.count >= limits.strangers {
      strangers.removeValue(forKey: strangers.keys.min()!)!.assumeIsolated { $0.cancel() }
    }
    let number = takeNumber()
    strangers[number] = exchange
    begin { links in
      let result = await links.shakeHands(exchange, isDialler: false)
      links.strangers[number] = nil
      if case .failure(let refusal) = result { links.tell(refusal, from) }
    }
  }

  private func shakeHands(_ exchange: HandshakeExchange, isDialler: Bool) async -> Result<PeerLink, LinkRefusal> {
    switch await exchange.run(within: limits.handshakeTime) {
    case .failure(let refusal): return .failure(refusal)
    case .success(let outcome):
      // The ring may have changed meanwhile.
      if let refusal = security.refusal(of: outcome.proof, by: outcome.peer.name) ?? refusal(of: outcome.peer) {
        exchange.stream.close()
        return .failure(refusal)
      }
      return .success(adopt(exchange.stream, outcome, isDialler: isDialler))
    }
  }

  private func refusal(of peer: Introduction) -> LinkRefusal? {
    if isClosed { return .closed }
    if peer.instance == introduction.instance { return .isSelf }
    if peer.name == introduction.name { return .sameName(peer) }
    let (theirs, ours) = (peer.profile.protocols, introduction.profile.protocols)
    if !theirs.overlaps(ours) { return .protocolVersions(theirs: theirs, ours: ours) }
    return nil
  }

  /// That nobody answers is for whoever dialled to know; the rest is for the operator.
  private func tell(_ refusal: LinkRefusal, _ address: String) {
    switch refusal {
    case .connection, .notListening, .isSelf, .closed: return
    case .timedOut, .notOfThisCluster, .untrusted, .protocolVersions, .sameName, .nameTaken:
      onEvent(.refused(refusal, from: address))
    }
  }
}
