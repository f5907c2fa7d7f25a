/// The jobs of one queue that wait, in the order of the store's positions, and the slots of its runners: a value without
/// clock, task or store. What happens goes in; `next()` says which job starts on which runner.
///
/// A slot is taken by a job that this node starts, until its end is about to be written, and by a job that runs elsewhere:
/// one that the store calls running and that no runner of this queue holds. It may run on the node that owned the runner
/// before, or be on its way back into the queue; either way what stands behind it must not overtake it. So what the store
/// says of a runner (`Snapshot`) is applied as a whole: first what waits is inserted, then slots become free.
///
/// Where each node has a store of its own, a former owner transfers what waits there in order, and says what it still runs
/// (`Transfer`): until all has come, nothing starts that is behind what has come.
struct Backlog: Sendable {
  /// A job that waits.
  struct Ticket: Hashable, Sendable {
    let id: JobID
    /// For which it is; another runner of the queue may execute it.
    let runner: RunnerName
    let executor: ExecutorName
    /// As the store gave it when the job was queued first; a job that is queued again keeps it.
    let position: Int64
  }

  /// A job that leaves the backlog for a runner.
  struct Start: Hashable, Sendable {
    let ticket: Ticket
    let runner: RunnerName
  }

  /// Jobs of a runner that come from a node which had it before.
  struct Transfer: Hashable, Sendable {
    let runner: RunnerName
    let giver: NodeName
  }

  private struct Slots {
    let concurrency: Int
    /// `nil` for all.
    let executors: Set<ExecutorName>?
    var isOpen: Bool
    /// Whether the store was asked what waits for it.
    var isRead: Bool
    var executing = 0
    /// Its jobs that run elsewhere.
    var elsewhere: Set<JobID> = []
    /// The last reading that said so.
    var lastReading = 0

    var free: Int { concurrency - executing - elsewhere.count }
    func mayUse(_ executor: ExecutorName) -> Bool { executors?.contains(executor) ?? true }
  }

  /// A job between its start and its end on disk.
  private struct Held {
    let runner: RunnerName
    var hasSlot = true
  }

  /// Tickets by position, one line an executor, since a runner may be restricted to some.
  private var lines: [ExecutorName: TicketLine] = [:]
  /// The waiting jobs and the position of their valid ticket.
  private var waiting: [JobID: Int64] = [:]
  private var slots: [RunnerName: Slots] = [:]
  private var held: [JobID: Held] = [:]
  /// For each reading of the store that is under way the jobs that were held since it began.
  private var readings: [Int: Set<JobID>] = [:]
  private var lastReading = 0
  /// The position up to which all has come of each transfer.
  private var arrived: [Transfer: Int64] = [:]
  /// What the givers said that they run.
  private var runningAtGivers: [Transfer: Set<JobID>] = [:]
  /// Which jobs may leave it.
  enum Starts { case all, one, none }
  /// `none` while the machine or the store cannot have it, or the node is stopping; `one` to find out.
  var starts = Starts.all

  // MARK: What there is

  var count: Int { waiting.count }
  var isEmpty: Bool { waiting.isEmpty }
  var runners: [RunnerName] { slots.keys.sorted() }
  /// Runners that the store was not asked for yet; while there is one, nothing of the queue starts.
  var unread: [RunnerName] { slots.filter { !$0.value.isRead }.keys.sorted() }
  /// Jobs that run elsewhere, by runner.
  var elsewhere: [RunnerName: Set<JobID>] { slots.mapValues(\.elsewhere).filter { !$0.value.isEmpty } }

  /// Whether a job waits, or is held by a runner of this queue.
  func knows(_ id: JobID) -> Bool { waiting[id] != nil || held[id] != nil }

  /// Whether a job handed over now would start at once on this runner.
  func isFree(for runner: RunnerName) -> Bool {
    guard waiting.isEmpty, readings.isEmpty, arrived.isEmpty, starts == .all, mayStart, let slots = slots[runner] else {
      return false
    }
    return slots.isOpen && slots.free > 0
  }

  /// Whether anything may start: an open runner has a slot that no job elsewhere takes. Which runner of a queue executes a
  /// job elsewhere is not known, so that it may be any.
  private var mayStart: Bool {
    guard starts != .none else { return false }
    var free = 0
    for slots in slots.values {
      guard slots.isRead else { return false }
      free += (slots.isOpen ? slots.concurrency - slots.executing : 0) - slots.elsewhere.count
    }
    return free > 0
  }

  // MARK: Runners

  mutating func add(_ runner: RunnerName, concurrency: Int, executors: Set<ExecutorName>?, isOpen: Bool, isRead: Bool) {
    var new = Slots(concurrency: concurrency, executors: executors, isOpen: isOpen, isRead: isRead)
    // A runner that comes back counts what it still executes.
    new.executing = held.values.count { $0.runner == runner && $0.hasSlot }
    slots[runner] = new
  }

  mutating func remove(_ runner: RunnerName) {
    slots[runner] = nil
    arrived = arrived.filter { $0.key.runner != runner }
    runningAtGivers = runningAtGivers.filter { $0.key.runner != runner }
  }

  /// Whether this runner takes jobs.
  mutating func setOpen(_ runner: RunnerName, _ isOpen: Bool) { slots[runner]?.isOpen = isOpen }

  mutating func setRead(_ runner: RunnerName) { slots[runner]?.isRead = true }

  // MARK: Waiting

  /// Puts a job where its position says, unless it is there, or held.
  mutating func insert(_ ticket: Ticket) {
    guard !knows(ticket.id) else { return }
    lines[ticket.executor, default: TicketLine()].insert(ticket)
    waiting[ticket.id] = ticket.position
  }

  /// As `insert` for each; what it costs grows with the jobs and with those that wait, not with their product.
  private mutating func insert(_ tickets: [Ticket]) {
    let new = tickets.filter { !knows($0.id) }.sorted { $0.position < $1.position }
    for (executor, tickets) in Dictionary(grouping: new, by: \.executor) {
      lines[executor, default: TicketLine()].merge(tickets)
    }
    for ticket in new { waiting[ticket.id] = ticket.position }
  }

  /// Takes a waiting job out; whether it was there.
  @discardableResult
  mutating func withdraw(_ id: JobID) -> Bool { waiting.removeValue(forKey: id) != nil }

  // MARK: Starts and ends

  /// The first job that a runner with a free slot may execute; it is held by that runner from now on.
  mutating func next() -> Start? {
    guard !waiting.isEmpty, mayStart else { return nil }
    let limit = arrived.values.min() ?? .max
    for (runner, slots) in slots where slots.isOpen && slots.free > 0 {
      guard let ticket = takeFirst(upTo: limit, where: slots.mayUse) else { continue }
      self.slots[runner]!.executing += 1
      held[ticket.id] = Held(runner: runner)
      if starts == .one { starts = .none }
      for reading in readings.keys { readings[reading]!.insert(ticket.id) }
      return Start(ticket: ticket, runner: runner)
    }
    return nil
  }

  private mutating func takeFirst(upTo limit: Int64, where isAllowed: (ExecutorName) -> Bool) -> Ticket? {
    var first: Ticket?
    for executor in Array(lines.keys) where isAllowed(executor) {
      // Withdrawn jobs leave their ticket behind; it is thrown away when it comes to the head.
      while let head = lines[executor]!.first, waiting[head.id] != head.position { lines[executor]!.removeFirst() }
      guard let head = lines[executor]!.first else {
        lines[executor] = nil
        continue
      }
      if head.position < first?.position ?? .max { first = head }
    }
    guard let first, first.position <= limit else { return nil }
    lines[first.executor]!.removeFirst()
    waiting[first.id] = nil
    return first
  }

  /// Its end is about to be written before anything that is asked for from now on: the next one may start.
  mutating func release(_ id: JobID) {
    guard let job = held[id], job.hasSlot else { return }
    held[id]!.hasSlot = false
    slots[job.runner]?.executing -= 1
  }

  /// The runner is done with it: its end is on disk, or it did not start.
  mutating func drop(_ id: JobID) {
    release(id)
    held[id] = nil
  }

  /// It could not start, or was queued again: it waits where it was.
  mutating func putBack(_ ticket: Ticket) {
    drop(ticket.id)
    insert(ticket)
  }

  /// A job of this runner runs elsewhere, as the store says.
  mutating func occupy(_ id: JobID, of runner: RunnerName) {
    drop(id)
    withdraw(id)
    for reading in readings.keys { readings[reading]!.remove(id) }
    slots[runner]?.elsewhere.insert(id)
  }

  /// It runs elsewhere no more.
  mutating func vacate(_ id: JobID, of runner: RunnerName) { slots[runner]?.elsewhere.remove(id) }

  // MARK: Transfers

  /// A giver has jobs that wait, perhaps: nothing starts before it has said which is the first.
  mutating func begin(_ transfer: Transfer) { if arrived[transfer] == nil { arrived[transfer] = .min } }

  /// A giver's next job that waits has this position. It may stand before what has come, if it was queued again.
  mutating func expect(_ position: Int64, of transfer: Transfer) {
    arrived[transfer] = min(arrived[transfer] ?? .max, position - 1)
  }

  /// All that waits there has come, up to this position.
  mutating func advance(_ transfer: Transfer, to position: Int64) {
    if let known = arrived[transfer] { arrived[transfer] = max(known, position) }
  }

  /// Nothing more comes, or it is not waited for.
  mutating func end(_ transfer: Transfer) { arrived[transfer] = nil }

  /// What a giver runs takes slots here.
  mutating func setRunning(_ jobs: Set<JobID>, at transfer: Transfer) {
    for id in (runningAtGivers[transfer] ?? []).subtracting(jobs) { vacate(id, of: transfer.runner) }
    for id in jobs { occupy(id, of: transfer.runner) }
    runningAtGivers[transfer] = jobs.isEmpty ? nil : jobs
  }

  // MARK: Reading the store

  /// What a store knows of the unfinished jobs of runners, at one instant.
  struct Snapshot: Sendable {
    var waiting: [Ticket] = []
    /// Jobs that run, with the runner that each is for.
    var running: [(id: JobID, runner: RunnerName)] = []
  }

  /// The store is about to be asked.
  /// - Returns: what `apply` or `cancelReading` wants to know.
  mutating func beginReading() -> Int {
    lastReading += 1
    readings[lastReading] = Set(held.keys)
    return lastReading
  }

  mutating func cancelReading(_ reading: Int) { readings[reading] = nil }

  /// Takes over what the store says of these runners. A job that runs and was held here at any time since the reading
  /// began is this queue's own affair; any other takes a slot, until a later snapshot says that it runs no more.
  mutating func apply(_ snapshot: Snapshot, of runners: some Sequence<RunnerName>, since reading: Int) {
    let ours = readings.removeValue(forKey: reading) ?? []
    insert(snapshot.waiting)
    let running = Dictionary(grouping: snapshot.running.filter { !ours.contains($0.id) }, by: \.runner)
    for runner in runners where slots[runner] != nil && slots[runner]!.lastReading < reading {
      let elsewhere = Set((running[runner] ?? []).map(\.id))
      for id in elsewhere { withdraw(id) }
      slots[runner]!.elsewhere = elsewhere
      slots[runner]!.lastReading = reading
      slots[runner]!.isRead = true
    }
  }
}

extension Backlog.Ticket {
  /// Of a job that waits; `nil` of any other.
  init?(_ record: JobRecord) {
    guard record.status == .queued, let position = record.position else { return nil }
    self.init(id: record.job.id, runner: record.job.runner, executor: record.job.executor, position: position)
  }

  init(_ job: UnfinishedJob) {
    self.init(id: job.id, runner: job.runner, executor: job.executor, position: job.position)
  }
  init(_ job: WaitingJob) {
    self.init(id: job.id, runner: job.runner, executor: job.executor, position: job.position)
  }
}
