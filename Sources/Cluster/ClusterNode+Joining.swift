import EventLoop
import Gossip
import Logging

// How a node finds the others: by its seeds, or by what it remembers of a former run, and again whenever it is alone.

extension ClusterNode {
  /// Exchanges what is known with a seed or a former peer. Returns when that was done, or after the time that the
  /// configuration gives it, or when the task is cancelled; the search goes on then.
  /// - Returns: whether it found anyone.
  @discardableResult
  public func join() async -> Bool {
    guard !isClosed else { return false }
    let (results, result) = AsyncStream<Bool>.makeStream()
    // A task of this node, so that `close` ends it.
    begin { result.yield(await $0.search()) }
    for await hasFound in results { return hasFound }
    return false
  }

  private func search() async -> Bool {
    let deadline = MonotonicClock.now + configuration.joinTimeout
    var (isFirst, isAlone) = (true, false)
    while !isClosed {
      let search = await seek(until: deadline)
      isAlone = search.isAlone
      solitude.take(search.reasons, hasFound: search.hasFound)
      if search.hasFound || isAlone || hasToStop || MonotonicClock.now >= deadline { break }
      if isFirst { logger.info("no seed answers yet", metadata: ["reasons": "\(search.reasons)"]) }
      isFirst = false
      try? await loop.sleep(for: .milliseconds(500))
    }
    let others = await peers().count
    await stand(others > 0 ? .member : .alone)
    if others > 0 {
      logger.info("joined", metadata: ["members": "\(others + 1)"])
    } else if !isAlone && !isClosed && !hasToStop {
      logger.warning(
        "no seed answered, this node goes on alone and keeps trying",
        metadata: ["reasons": "\(solitude.reason ?? "none of them in time")"])
    }
    if !isSeeking {
      isSeeking = true
      begin { await $0.keepSeeking() }
    }
    return others > 0
  }

  private func peers() async -> [Member] { await members.filter { $0.isPresent && $0.name != name } }

  /// Alone, it tries again and again: whoever was separated from all others finds them, even after they forgot it. Among
  /// others it looks up the seeds now and then, for gossip: where none of its members is, another part of the cluster may
  /// be.
  private func keepSeeking() async {
    for round in 1... {
      if await !peers().isEmpty { solitude = Solitude() }
      guard (try? await loop.sleep(for: .seconds(5))) != nil, !isClosed else { return }
      if await peers().isEmpty {
        sayWhyAlone(await seek(until: MonotonicClock.now + configuration.joinTimeout))
      } else if round.isMultiple(of: 12) {
        for seed in configuration.seeds { _ = try? await lookUp(seed) }
      }
    }
  }

  // MARK: Alone

  /// Why this node is alone, though it was told to join others or knew some; `nil` when it is not.
  public var reasonForBeingAlone: String? {
    get async {
      guard let reason = solitude.reason, await peers().isEmpty else { return nil }
      return reason
    }
  }

  private func sayWhyAlone(_ search: Search) {
    solitude.take(search.reasons, hasFound: search.hasFound)
    guard let reason = solitude.reason, solitude.isDue(at: MonotonicClock.now), !isClosed else { return }
    logger.warning("this node is still alone; it was told to join others", metadata: ["reasons": "\(reason)"])
  }

  // MARK: Seeking

  /// What became of one round.
  private struct Search {
    var hasFound = false
    /// Not everybody has answered.
    var isCutShort = false
    var failures: [(reason: String, loopbackOfSeed: Int?)] = []
    /// Seeds of which an address is this node itself.
    var ownSeeds: Set<Int> = []

    /// Where nobody answers on this machine, and another address of the same seed is this node itself, there is nobody:
    /// `localhost` has two addresses, and a node listens on one of them.
    var reasons: [String] {
      failures.filter { failure in !(failure.loopbackOfSeed.map(ownSeeds.contains) ?? false) }.map(\.reason)
    }
    /// There is nobody to find: no seed but this node itself, and nobody remembered.
    var isAlone: Bool { !isCutShort && reasons.isEmpty }
  }

  private enum SearchEvent {
    /// A seed's name stands for so many addresses.
    case lookedUp(Int)
    case result(ExchangeResult, from: Source = Source())
    case timeIsUp
  }

  /// Where a result comes from: which seed, if it is one's, and whether its address is one of this machine only.
  private struct Source {
    var seed: Int?
    var isLoopback = false
  }

  /// Exchanges with all seeds and remembered peers at once; the first answer will do. A seed that cannot be looked up, or
  /// does not answer, does not keep this node from what another knows.
  @discardableResult
  private func seek(until deadline: Duration) async -> Search {
    var search = Search()
    guard !isClosed else { return search }
    let (events, event) = AsyncStream<SearchEvent>.makeStream()
    let timer = Timer(on: loop)
    defer { timer.close() }
    timer.schedule(after: deadline - MonotonicClock.now) { event.yield(.timeIsUp) }
    var waiting = configuration.seeds.count + memory.peers.count
    for (number, seed) in configuration.seeds.enumerated() {
      begin { await $0.exchange(withSeed: seed, number, event) }
    }
    for peer in memory.peers { begin { event.yield(.result(await $0.exchange(with: peer))) } }
    guard waiting > 0 else { return search }
    for await event in events {
      switch event {
      case .lookedUp(let count): waiting += count - 1
      case .result(let result, let source):
        waiting -= 1
        switch result {
        case .done: search.hasFound = true
        case .isSelf: if let seed = source.seed { search.ownSeeds.insert(seed) }
        case .failed(let reason): search.failures.append((reason, source.isLoopback ? source.seed : nil))
        }
      case .timeIsUp:
        search.isCutShort = true
        return search
      }
      if search.hasFound || hasToStop || waiting == 0 { return search }
    }
    // The task was cancelled.
    search.isCutShort = true
    return search
  }

  private func exchange(
    withSeed seed: (host: String, port: UInt16), _ number: Int, _ event: AsyncStream<SearchEvent>.Continuation
  ) async {
    do throws(UVError) {
      let addresses = try await lookUp(seed)
      event.yield(.lookedUp(addresses.count))
      for address in addresses {
        let isLoopback = (try? SocketAddress(parsing: address.rawValue))?.isLoopback ?? false
        let source = Source(seed: number, isLoopback: isLoopback)
        begin { event.yield(.result(await $0.exchange(with: address), from: source)) }
      }
    } catch {
      event.yield(.result(.failed("\(error)")))
    }
  }

  /// A name is looked up each time: the address behind it may be another one by now.
  private func lookUp(_ seed: (host: String, port: UInt16)) async throws(UVError) -> [MemberAddress] {
    let found = try await SocketAddress.resolve(host: seed.host, port: seed.port, on: loop)
    let addresses = found.map { MemberAddress($0.description) }
    seedAddresses["\(seed.host):\(seed.port)"] = addresses
    let all = Array(Set(seedAddresses.values.joined()))
    await gossip?.perform { swim, _ in
      swim.seeds = all
      return []
    }
    return addresses
  }
}
