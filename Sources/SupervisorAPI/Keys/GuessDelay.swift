import EventLoop
import HTTPServer
import Synchronization

/// Holds back the refusals of addresses from which wrong keys keep coming: twenty at once are answered immediately, more at
/// twenty a minute. Only refusals are held back, so a valid key is never late, whoever else is at its address.
public final class GuessDelay: Sendable {
  /// Between two refusals of one address, once it has used up its burst.
  fileprivate static let interval = Duration.seconds(3)
  /// Whoever guesses on many connections at a time waits this long on each.
  private static let longest = Duration.seconds(30)
  /// More addresses are not told apart: those beyond share one place. Each has a few dozen bytes.
  static let maximumAddresses = 10_000

  /// Who guesses. A host has all addresses of its /64 of IPv6 (RFC 4291, section 2.5.4).
  enum Source: Hashable {
    case ip([UInt8])
    case user(UInt32)
    case overflow
  }

  fileprivate struct State {
    /// When each source would have used up what it did if it had kept to the interval (GCRA).
    var debts: [Source: ContinuousClock.Instant] = [:]
    var refused: [String: Int] = [:]
    var delayed = 0
    var nextCleaning = ContinuousClock.now
  }

  /// Wrong keys that an address may show before it waits.
  private let burst: Int
  private let state = Mutex(State())
  private let loop: EventLoop
  private let now: @Sendable () -> ContinuousClock.Instant

  /// - Parameter now: the clock by which addresses pay their debts.
  public init(
    on loop: EventLoop, burst: Int = 20, now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
  ) {
    self.loop = loop
    self.burst = burst
    self.now = now
  }

  /// Counts the wrong keys of a request.
  /// - Parameter reasons: why each is none, and how many there are.
  /// - Returns: for how long the answer must be held back.
  func pause(
    for peer: HTTPPeer, reasons: [String: Int], at time: ContinuousClock.Instant? = nil
  ) -> Duration {
    let now = time ?? now()
    let count = reasons.values.reduce(0, +)
    if count == 0 { return .zero }
    let source = Source(peer)
    return state.withLock { state in
      state.refused.merge(reasons, uniquingKeysWith: +)
      let place = state.place(of: source, at: now)
      let debt = max(state.debts[place] ?? now, now) + Self.interval * count
      state.debts[place] = min(debt, now + Self.interval * burst + Self.longest)
      let pause = min(debt - now - Self.interval * burst, Self.longest)
      if pause > .zero { state.delayed += 1 }
      return max(pause, .zero)
    }
  }

  /// Counts the wrong keys of a request, and waits; not longer than its client does.
  func wait(for peer: HTTPPeer, reasons: [String: Int]) async {
    let pause = pause(for: peer, reasons: reasons)
    if pause > .zero { try? await loop.sleep(for: pause) }
  }

  /// How many addresses it remembers.
  var addresses: Int { state.withLock { $0.debts.count } }

  var families: [Metrics.Family] {
    let (refused, delayed) = state.withLock { ($0.refused, $0.delayed) }
    return [
      .init(
        "hero_wrong_keys_total", "counter", "Keys that were shown and are not valid, by reason.",
        ["unknown", "expired", "revoked"].map { ([("reason", $0)], Double(refused[$0] ?? 0)) }),
      .init(
        "hero_wrong_keys_delayed_total", "counter",
        "Requests whose answer was held back because too many wrong keys came from the same address.", Double(delayed)),
    ]
  }
}

extension GuessDelay.State {
  /// Where a source is counted: by itself as long as there is room.
  fileprivate mutating func place(
    of source: GuessDelay.Source, at now: ContinuousClock.Instant
  ) -> GuessDelay.Source {
    if debts[source] != nil || debts.count < GuessDelay.maximumAddresses { return source }
    // Those whose debt is paid need no memory. It is looked for them once an interval at most, lest a flood of addresses
    // makes each refusal a walk over all.
    if now >= nextCleaning {
      debts = debts.filter { $0.value > now }
      nextCleaning = now + GuessDelay.interval
    }
    return debts.count < GuessDelay.maximumAddresses ? source : .overflow
  }
}

extension GuessDelay.Source {
  init(_ peer: HTTPPeer) {
    switch peer {
    case .user(let uid): self = .user(uid)
    case .address(let address): self = .ip(Array(address.unmapped.bytes.prefix(8)))
    }
  }
}
