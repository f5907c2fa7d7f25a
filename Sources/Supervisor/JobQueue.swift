import DequeModule
import EventLoop

// The FIFO that one or more runners drain. It holds ids only; payloads stay in the store until a job starts. The store
// decides what a job's state is; an entry here whose job has meanwhile ended is dropped when its turn comes.

public actor JobQueue {
  nonisolated let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
  public nonisolated let name: QueueName

  private struct Ticket {
    let number: Int64
    let id: JobID
  }

  private struct Slots {
    let runner: Runner
    var free: Int
    var isOpen: Bool
  }

  /// One line an executor, since a runner may be restricted to some; numbers keep the order between lines.
  private var lines: [ExecutorName: Deque<Ticket>] = [:]
  /// The waiting jobs and the number of their valid ticket.
  private var waiting: [JobID: Int64] = [:]
  private var nextNumber: Int64 = 0
  private var nextFrontNumber: Int64 = -1
  private var runners: [RunnerName: Slots] = [:]
  private var executing: [JobID: Runner] = [:]
  /// While the line is being read from the store: jobs that came meanwhile, which stand behind it.
  private var arrivals: [(id: JobID, executor: ExecutorName)] = []
  private var loads = 0
  /// No job starts: the store is away, or the node is stopping.
  private var isHeld = false
  private var hold: Task<Void, Never>?
  private var isDraining = false

  init(name: QueueName, loop: EventLoop) {
    self.name = name
    self.loop = loop
  }

  /// Jobs waiting.
  var count: Int { waiting.count }
  var isEmpty: Bool { waiting.isEmpty }
  var runnerNames: [RunnerName] { runners.keys.sorted() }

  /// Whether a job handed over now would start at once on this runner.
  func isFree(for runner: RunnerName) -> Bool {
    guard let slots = runners[runner] else { return false }
    return waiting.isEmpty && loads == 0 && slots.isOpen && slots.free > 0 && !isHeld && !isDraining
  }

  /// The last in line.
  func append(_ id: JobID, executor: ExecutorName) {
    if loads > 0 { arrivals.append((id, executor)) } else { stand(id, executor) }
  }

  /// The line is read from the store from now on, page by page; until `endLoading` nobody else gets in.
  func beginLoading() { loads += 1 }

  func load(_ id: JobID, executor: ExecutorName) { stand(id, executor) }

  func endLoading() {
    loads -= 1
    guard loads == 0 else { return }
    for (id, executor) in arrivals { stand(id, executor) }
    arrivals = []
  }

  private func stand(_ id: JobID, _ executor: ExecutorName) {
    guard waiting[id] == nil, executing[id] == nil else { return }
    lines[executor, default: []].append(Ticket(number: nextNumber, id: id))
    waiting[id] = nextNumber
    nextNumber += 1
    pump()
  }

  /// Back to the head of the line: it could not start. Nothing of this queue starts for a while.
  func putBack(_ id: JobID, executor: ExecutorName, holding time: Duration) {
    lines[executor, default: []].prepend(Ticket(number: nextFrontNumber, id: id))
    waiting[id] = nextFrontNumber
    nextFrontNumber -= 1
    guard !isHeld, !isDraining else { return }
    isHeld = true
    hold = Task(executorPreference: loop) { await self.letGo(after: time) }
  }

  private func letGo(after time: Duration) async {
    try? await loop.sleep(for: time)
    isHeld = false
    pump()
  }

  /// Takes a waiting job out of the line; whether it was there.
  @discardableResult
  func withdraw(_ id: JobID) -> Bool {
    if loads > 0 { arrivals.removeAll { $0.id == id } }
    return waiting.removeValue(forKey: id) != nil
  }

  /// The runner that executes this job now; if it waits, it does so no more, and no runner can start it. In one step.
  func claim(_ id: JobID) -> Runner? {
    if let runner = executing[id] { return runner }
    withdraw(id)
    return nil
  }

  /// Whether a job stands in line, or is executed.
  func knows(_ id: JobID) -> Bool {
    waiting[id] != nil || executing[id] != nil || arrivals.contains { $0.id == id }
  }

  /// The runner that executes this job now.
  func executor(of id: JobID) -> Runner? { executing[id] }

  // MARK: Runners

  func add(_ runner: Runner, concurrency: Int, isOpen: Bool) {
    runners[runner.name] = Slots(runner: runner, free: concurrency, isOpen: isOpen)
    pump()
  }

  func remove(_ runner: RunnerName) { runners[runner] = nil }

  /// Whether this runner takes jobs.
  func setOpen(_ runner: RunnerName, _ isOpen: Bool) {
    runners[runner]?.isOpen = isOpen
    if isOpen { pump() }
  }

  /// No job of this queue starts any more.
  func drain() {
    isDraining = true
    // Nothing of a node that stops waits on the loop.
    hold?.cancel()
  }

  /// The runner is done with this job's process; its slot takes the next one.
  func release(_ id: JobID, by runner: RunnerName) {
    guard executing.removeValue(forKey: id) != nil else { return }
    runners[runner]?.free += 1
    pump()
  }

  // MARK: Matching

  private func pump() {
    guard !isHeld, !isDraining, !waiting.isEmpty else { return }
    for name in runners.keys {
      while let slots = runners[name], slots.isOpen, slots.free > 0, let (ticket, executor) = take(for: slots.runner) {
        runners[name]!.free -= 1
        executing[ticket.id] = slots.runner
        // At once, as both are on the loop: a stop that comes before the task runs must find the job there.
        slots.runner.assumeIsolated { $0.take(ticket.id) }
        Task(executorPreference: loop) { await slots.runner.execute(ticket.id, executor: executor) }
      }
    }
  }

  /// The first job in line that this runner may execute.
  private func take(for runner: Runner) -> (Ticket, ExecutorName)? {
    var first: (ticket: Ticket, executor: ExecutorName)?
    for executor in Array(lines.keys) where runner.mayUse(executor) {
      dropInvalid(executor)
      if let head = lines[executor]?.first, head.number < first?.ticket.number ?? .max { first = (head, executor) }
    }
    guard let first else { return nil }
    lines[first.executor]!.removeFirst()
    waiting[first.ticket.id] = nil
    return first
  }

  /// Withdrawn jobs leave their ticket behind; it is thrown away when it comes to the head.
  private func dropInvalid(_ executor: ExecutorName) {
    while let head = lines[executor]?.first, waiting[head.id] != head.number { lines[executor]!.removeFirst() }
    if lines[executor]?.isEmpty == true { lines[executor] = nil }
  }
}
