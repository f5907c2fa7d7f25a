import DequeModule

/// Which queues start nothing since the machine, or the store, cannot have it at present, and which of them tries again when:
/// a value without clock, timer or queue. What happens goes in, directives come out.
///
/// Queues that wait for the same thing wait in one line. When something may have changed, the first of them starts one job; if
/// that goes, it is free, and twice as many of the others try at a time. If it does not, the line waits twice as long as
/// before, up to a bound. So however many queues and jobs wait, a shortage costs one start for each pause, and a line of any
/// length is free soon after its end.
struct StartHolds: Sendable {
  /// What a queue waits for. Those that wait for the same thing find out together whether it is there.
  enum Cause: Hashable, Sendable {
    /// The store takes no writes at present.
    case store
    /// The machine refused something with this error number; to this user, if it is not the node's own.
    case machine(code: Int32, user: UInt32?)
  }

  enum Directive: Hashable, Sendable {
    /// Let it start one job, and say what became of it: by `failed`, `started` or `idle`.
    case tryOne(QueueName)
    /// It is held no more.
    case open(QueueName)
  }

  /// One queue on hold.
  struct Hold: Hashable, Sendable {
    let cause: Cause
    /// What was refused last, in words.
    var reason: String
    let since: ContinuousClock.Instant
  }

  private struct Line {
    /// Whose turn it is next stands first.
    var waiting: Deque<QueueName> = []
    /// Those that try at present.
    var trying: Set<QueueName> = []
    /// How many may try at a time.
    var width = 1
    let firstPause: Duration
    let longestPause: Duration
    var pause: Duration
    var due: ContinuousClock.Instant
    var lastFailure: ContinuousClock.Instant

    var isEmpty: Bool { waiting.isEmpty && trying.isEmpty }
  }

  /// The first pause, which doubles with each failure up to the longest: short enough that nobody waits long for a machine
  /// that has room again, long enough that a start in vain is nothing to it.
  static let firstPause: Duration = .milliseconds(250)
  static let longestPause: Duration = .seconds(5)
  /// When there may be room, a line tries at once, but not sooner than this after a failure: jobs of other queues may end all
  /// the time.
  static let shortestPause: Duration = .milliseconds(100)

  private(set) var holds: [QueueName: Hold] = [:]
  private var lines: [Cause: Line] = [:]

  var isEmpty: Bool { holds.isEmpty }

  /// When `elapsed` is to be called; `nil` for never.
  var due: ContinuousClock.Instant? {
    lines.values.filter { $0.trying.isEmpty }.map(\.due).min()
  }

  /// A queue could not start a job.
  /// - Parameters:
  ///   - reason: what was refused, in words.
  ///   - pause: until the next try, each time; `nil` for pauses that grow.
  mutating func failed(
    _ queue: QueueName, _ cause: Cause, reason: String, pause: Duration? = nil, at now: ContinuousClock.Instant
  ) -> [Directive] {
    let hold = holds[queue]
    // It is known of this queue already, from a job that was started beside this one.
    if hold != nil && !isTrying(queue) { return [] }
    holds[queue] = Hold(cause: cause, reason: reason, since: hold?.since ?? now)
    guard let hold, hold.cause == cause else {
      let first = pause ?? Self.firstPause
      lines[
        cause,
        default: Line(
          firstPause: first, longestPause: pause ?? Self.longestPause, pause: first, due: now + first, lastFailure: now)
      ].waiting.append(queue)
      return hold.map { leave(queue, $0.cause) } ?? []
    }
    var line = lines[cause]!
    line.trying.remove(queue)
    line.waiting.append(queue)
    line.width = 1
    line.lastFailure = now
    if line.trying.isEmpty {
      line.pause = min(line.pause * 2, line.longestPause)
      line.due = now + line.pause
    }
    lines[cause] = line
    return []
  }

  /// A queue that tried has started a job: others will be able to, too.
  mutating func started(_ queue: QueueName) -> [Directive] {
    guard isTrying(queue), let hold = holds.removeValue(forKey: queue) else { return [] }
    // Enough for the longest line in a few rounds.
    lines[hold.cause]!.width = min(lines[hold.cause]!.width * 2, 1024)
    lines[hold.cause]!.pause = lines[hold.cause]!.firstPause
    return [.open(queue)] + leave(queue, hold.cause)
  }

  /// A queue that was to try has nothing to start at present, so that nobody knows whether it could.
  mutating func idle(_ queue: QueueName) -> [Directive] {
    guard isTrying(queue), let hold = holds.removeValue(forKey: queue) else { return [] }
    return [.open(queue)] + leave(queue, hold.cause)
  }

  /// There may be room again: the process of a job has ended.
  mutating func roomMade(at now: ContinuousClock.Instant) -> [Directive] {
    for (cause, line) in lines where cause != .store {
      lines[cause]!.due = min(line.due, line.lastFailure + Self.shortestPause)
    }
    return elapsed(at: now)
  }

  /// Time has passed.
  mutating func elapsed(at now: ContinuousClock.Instant) -> [Directive] {
    var directives: [Directive] = []
    for (cause, line) in lines where line.trying.isEmpty && line.due <= now { directives += next(cause) }
    return directives
  }

  /// A queue starts nothing any more.
  mutating func forget(_ queue: QueueName) -> [Directive] {
    let wasTrying = isTrying(queue)
    guard let hold = holds.removeValue(forKey: queue) else { return [] }
    if wasTrying { return leave(queue, hold.cause) }
    lines[hold.cause]!.waiting.removeAll { $0 == queue }
    if lines[hold.cause]!.isEmpty { lines[hold.cause] = nil }
    return []
  }

  private func isTrying(_ queue: QueueName) -> Bool {
    holds[queue].map { lines[$0.cause]!.trying.contains(queue) } ?? false
  }

  /// Takes a queue out of those that try; the next ones take its place.
  private mutating func leave(_ queue: QueueName, _ cause: Cause) -> [Directive] {
    lines[cause]!.trying.remove(queue)
    guard lines[cause]!.isEmpty else { return next(cause) }
    lines[cause] = nil
    return []
  }

  private mutating func next(_ cause: Cause) -> [Directive] {
    var directives: [Directive] = []
    while lines[cause]!.trying.count < lines[cause]!.width, let queue = lines[cause]!.waiting.popFirst() {
      lines[cause]!.trying.insert(queue)
      directives.append(.tryOne(queue))
    }
    return directives
  }
}
