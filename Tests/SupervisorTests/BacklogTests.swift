import Testing

@testable import Supervisor

@Suite("The backlog of a queue", .timeLimit(.minutes(5)))
struct BacklogTests {
  private let shell = ExecutorName(trusted: "shell")
  private let python = ExecutorName(trusted: "python")
  private let r = RunnerName(trusted: "r")
  private let s = RunnerName(trusted: "s")

  private func ticket(_ position: Int64, executor: ExecutorName? = nil) -> Backlog.Ticket {
    Backlog.Ticket(id: id(position), runner: r, executor: executor ?? shell, position: position)
  }
  private func id(_ position: Int64) -> JobID { JobID(trusted: "job-\(position)") }

  private func backlog(concurrency: Int = 1, isOpen: Bool = true, isRead: Bool = true) -> Backlog {
    var backlog = Backlog()
    backlog.add(r, concurrency: concurrency, executors: nil, isOpen: isOpen, isRead: isRead)
    return backlog
  }

  /// Starts and ends jobs one after another.
  private func drained(_ backlog: inout Backlog) -> [Int64] {
    var order: [Int64] = []
    while let start = backlog.next() {
      order.append(start.ticket.position)
      backlog.drop(start.ticket.id)
    }
    return order
  }

  @Test("jobs start in the order of their positions, in whatever order they come")
  func order() {
    var backlog = backlog()
    for position in (Int64(0)..<500).shuffled() { backlog.insert(ticket(position)) }
    // Once more is no second time.
    for position in (Int64(0)..<500).shuffled() { backlog.insert(ticket(position)) }
    #expect(backlog.count == 500)
    #expect(drained(&backlog) == Array(0..<500))
    #expect(backlog.isEmpty)
  }

  @Test("a job that is put back, or queued again, starts before those that were queued later")
  func putBack() {
    var backlog = backlog()
    for position in Int64(1)...3 { backlog.insert(ticket(position)) }
    #expect(backlog.next()?.ticket == ticket(1))
    backlog.putBack(ticket(1))
    #expect(backlog.next()?.ticket == ticket(1))
    backlog.drop(id(1))
    backlog.insert(ticket(1))
    #expect(drained(&backlog) == [1, 2, 3])
  }

  @Test("a withdrawn job does not start, and can come back once")
  func withdraw() {
    var backlog = backlog()
    for position in Int64(1)...4 { backlog.insert(ticket(position)) }
    let found = [1, 3, 3].map { backlog.withdraw(id($0)) }
    #expect(found == [true, true, false])
    for _ in 0..<3 {
      backlog.insert(ticket(3))
      backlog.withdraw(id(3))
    }
    backlog.insert(ticket(3))
    #expect(drained(&backlog) == [2, 3, 4])
  }

  @Test("a runner takes only what it may execute, and of that the first")
  func executors() {
    var backlog = Backlog()
    backlog.add(r, concurrency: 9, executors: [python], isOpen: true, isRead: true)
    backlog.insert(ticket(1))
    backlog.insert(ticket(2, executor: python))
    #expect(backlog.next() == Backlog.Start(ticket: ticket(2, executor: python), runner: r))
    #expect(backlog.next() == nil)
    backlog.add(s, concurrency: 1, executors: nil, isOpen: true, isRead: true)
    #expect(backlog.next() == Backlog.Start(ticket: ticket(1), runner: s))
  }

  @Test("a slot is free when the end of its job is about to be written, and the job is known until it is on disk")
  func release() {
    var backlog = backlog()
    backlog.insert(ticket(1))
    backlog.insert(ticket(2))
    #expect(backlog.next()?.ticket == ticket(1))
    #expect(backlog.next() == nil)
    backlog.release(id(1))
    #expect(backlog.knows(id(1)))
    // A stale view of the store does not bring it back.
    backlog.insert(ticket(1))
    #expect(backlog.next()?.ticket == ticket(2))
    backlog.release(id(1))
    backlog.drop(id(1))
    #expect(backlog.next() == nil)
    backlog.drop(id(2))
    #expect(!backlog.knows(id(1)))
    #expect(backlog.isFree(for: r))
  }

  @Test(
    "a job that runs elsewhere takes a slot until the store says that it runs no more, and goes first when it waits")
  func elsewhere() {
    var backlog = backlog(isRead: false)
    backlog.insert(ticket(2))
    #expect(backlog.next() == nil, "nothing starts before the store was read")
    #expect(backlog.unread == [r])
    var reading = backlog.beginReading()
    backlog.apply(Backlog.Snapshot(waiting: [ticket(2)], running: [(id(1), r)]), of: [r], since: reading)
    #expect(backlog.next() == nil)
    #expect(backlog.unread == [] && backlog.elsewhere == [r: [id(1)]])
    #expect(!backlog.isFree(for: r))
    // Queued again: inserted first, then the slot is free.
    reading = backlog.beginReading()
    backlog.apply(Backlog.Snapshot(waiting: [ticket(1), ticket(2)]), of: [r], since: reading)
    #expect(backlog.elsewhere == [:])
    #expect(drained(&backlog) == [1, 2])
  }

  @Test("a long backlog is read beside jobs that came meanwhile, each job once, in order, and in one pass")
  func longBacklog() {
    var backlog = backlog(isRead: false)
    let reading = backlog.beginReading()
    let all = Int64(0)..<20_000
    for position in all where position > 15_000 || position.isMultiple(of: 7) { backlog.insert(ticket(position)) }
    backlog.apply(Backlog.Snapshot(waiting: all.map { ticket($0) }), of: [r], since: reading)
    #expect(backlog.count == all.count)
    #expect(drained(&backlog) == Array(all))
  }

  @Test("an older reading says nothing of what runs, once a newer one was applied")
  func olderReading() {
    var backlog = backlog()
    let (older, newer) = (backlog.beginReading(), backlog.beginReading())
    backlog.apply(Backlog.Snapshot(waiting: [ticket(1)]), of: [r], since: newer)
    backlog.apply(Backlog.Snapshot(running: [(id(1), r)]), of: [r], since: older)
    #expect(backlog.elsewhere == [:])
    #expect(backlog.next()?.ticket == ticket(1))
  }

  @Test("a job that was held here while the store was read is no job elsewhere")
  func heldMeanwhile() {
    var backlog = backlog(concurrency: 2)
    for position in Int64(1)...4 { backlog.insert(ticket(position)) }
    #expect(backlog.next()?.ticket == ticket(1))
    let reading = backlog.beginReading()
    // One ends while the store is read, and the next starts and ends as well.
    backlog.drop(id(1))
    #expect(backlog.next()?.ticket == ticket(2))
    backlog.drop(id(2))
    backlog.apply(
      Backlog.Snapshot(waiting: [ticket(3), ticket(4)], running: [(id(1), r), (id(2), r)]), of: [r], since: reading)
    #expect(backlog.next()?.ticket == ticket(3))
    #expect(backlog.next()?.ticket == ticket(4))
  }

  @Test(
    "a job whose start was refused since it runs takes the slot that it was given, also when the store is being read")
  func occupied() {
    var backlog = backlog()
    backlog.insert(ticket(1))
    backlog.insert(ticket(2))
    #expect(backlog.next()?.ticket == ticket(1))
    let reading = backlog.beginReading()
    backlog.occupy(id(1), of: r)
    #expect(backlog.next() == nil)
    backlog.apply(Backlog.Snapshot(waiting: [ticket(2)], running: [(id(1), r)]), of: [r], since: reading)
    #expect(backlog.next() == nil)
    backlog.vacate(id(1), of: r)
    #expect(backlog.next()?.ticket == ticket(2))
  }

  @Test("runners of one queue: what runs elsewhere takes a slot of the queue, whichever runner executes it")
  func sharedQueue() {
    var backlog = backlog()
    backlog.add(s, concurrency: 1, executors: nil, isOpen: true, isRead: true)
    let reading = backlog.beginReading()
    // Both were for one runner; the other one executed one of them.
    backlog.apply(
      Backlog.Snapshot(waiting: [ticket(3)], running: [(id(1), r), (id(2), r)]), of: [r, s], since: reading)
    #expect(backlog.next() == nil)
    backlog.vacate(id(1), of: r)
    #expect(backlog.next()?.runner == s)
    backlog.drop(id(3))
    // A closed runner lends no slot: the job that is for it may be executed by the other one.
    backlog.setOpen(r, false)
    backlog.insert(ticket(3))
    #expect(backlog.next() == nil)
    backlog.setOpen(r, true)
    #expect(backlog.next()?.runner == s)
    // An unread runner holds up its whole queue: what waits for it may have been queued before.
    backlog.drop(id(3))
    backlog.add(RunnerName(trusted: "t"), concurrency: 1, executors: nil, isOpen: true, isRead: false)
    backlog.insert(ticket(4))
    #expect(backlog.next() == nil)
  }

  @Test("a runner that is added again counts what it still executes")
  func addedAgain() {
    var backlog = backlog()
    backlog.insert(ticket(1))
    backlog.insert(ticket(2))
    #expect(backlog.next()?.ticket == ticket(1))
    backlog.remove(r)
    backlog.add(r, concurrency: 1, executors: nil, isOpen: true, isRead: true)
    #expect(backlog.next() == nil)
    backlog.drop(id(1))
    #expect(backlog.next()?.ticket == ticket(2))
  }

  @Test("nothing starts on a closed runner, or while the queue is held")
  func closed() {
    var backlog = backlog(isOpen: false)
    backlog.insert(ticket(1))
    #expect(backlog.next() == nil)
    backlog.setOpen(r, true)
    backlog.starts = .none
    #expect(backlog.next() == nil)
    backlog.starts = .all
    #expect(backlog.next()?.ticket == ticket(1))
  }

  @Test("of a queue that tries whether jobs can start, one does, and it is the first")
  func trying() {
    var backlog = backlog(concurrency: 3)
    for position in [3, 1, 2] { backlog.insert(ticket(Int64(position))) }
    backlog.starts = .one
    #expect(!backlog.isFree(for: r))
    #expect(backlog.next()?.ticket == ticket(1))
    #expect(backlog.next() == nil)
    #expect(backlog.starts == .none)
    // It could not: it is the first again, and the only one.
    backlog.putBack(ticket(1))
    backlog.starts = .one
    #expect(backlog.next()?.ticket == ticket(1))
    #expect(backlog.next() == nil)
    backlog.starts = .all
    #expect(backlog.next()?.ticket == ticket(2))
    #expect(backlog.next()?.ticket == ticket(3))
  }

  @Test("while jobs come from a former owner, nothing starts that is behind one that has not come")
  func transfer() {
    let transfer = Backlog.Transfer(runner: r, giver: NodeName(trusted: "n"))
    var backlog = backlog(concurrency: 2)
    backlog.insert(ticket(100))
    backlog.begin(transfer)
    #expect(backlog.next() == nil)
    #expect(!backlog.isFree(for: r))
    backlog.expect(5, of: transfer)
    backlog.insert(ticket(5))
    #expect(backlog.next() == nil)
    backlog.advance(transfer, to: 5)
    #expect(backlog.next()?.ticket == ticket(5))
    #expect(backlog.next() == nil)
    // One before it was queued again there.
    backlog.expect(3, of: transfer)
    backlog.insert(ticket(5))
    backlog.insert(ticket(3))
    backlog.advance(transfer, to: 3)
    #expect(backlog.next()?.ticket == ticket(3))
    #expect(backlog.next() == nil)
    backlog.drop(id(3))
    backlog.end(transfer)
    #expect(backlog.next()?.ticket == ticket(100))
  }

  @Test("what a former owner still runs takes slots, until it says otherwise")
  func runningAtGiver() {
    let transfer = Backlog.Transfer(runner: r, giver: NodeName(trusted: "n"))
    var backlog = backlog(concurrency: 2)
    for position in Int64(1)...3 { backlog.insert(ticket(position)) }
    backlog.setRunning([JobID(trusted: "x"), JobID(trusted: "y")], at: transfer)
    #expect(backlog.next() == nil)
    backlog.setRunning([JobID(trusted: "y")], at: transfer)
    #expect(backlog.next()?.ticket == ticket(1))
    #expect(backlog.next() == nil)
    backlog.setRunning([], at: transfer)
    #expect(backlog.next()?.ticket == ticket(2))
    #expect(backlog.next() == nil)
  }
}
