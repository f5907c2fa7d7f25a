import Gossip

@testable import Supervisor

// Nodes that each have a store of their own, and one runner that goes from node to node while they crash, stand still and
// lose messages: the protocol of `JobTransfer.swift` over the values that the product uses, driven by a seed. What the
// model keeps of stores and processes is what is checked, and knows nothing of these values.

/// A claim of the runner, as gossip carries it.
struct ModelClaim: Hashable {
  var epoch: Int64
  var owner: Int

  func overrides(_ other: ModelClaim) -> Bool { (epoch, owner) > (other.epoch, other.owner) }
}

/// Several nodes, the messages between them, and what must hold.
struct TransferModel {
  // MARK: What a node is

  struct Row {
    var status: JobStatus
    var attempt: Int
    var position: Int64
  }

  /// What is on disk, and outlives a crash.
  struct Disk {
    var rows: [Int: Row] = [:]
    var incoming: [TransferID: IncomingJob] = [:]
    var outgoing: [TransferID: MovedJob] = [:]
    var claim: ModelClaim?
  }

  /// Something to be written, and what follows when it is on disk.
  enum Write {
    case create(Int, position: Int64)
    case start(Int)
    case finish(Int)
    case requeue(Int)
    case claim(ModelClaim)
    case keep([IncomingJob], from: Int)
    case move(TransferID, OutgoingTransfers.Offer)
    case admit(TransferID)
    case drop(TransferID)
    case erase([TransferID])
  }

  enum Message {
    case gossip(ModelClaim)
    case takeOver(ModelClaim)
    case receive(epoch: Int64)
    case release(epoch: Int64, settled: [TransferID])
    case released([IncomingJob], running: Set<JobID>, waits: Bool)
    case claim([TransferID])
    case claimed([TransferID: Bool])
    case confirm([TransferID])
    case confirmed([TransferID])
  }

  struct Envelope {
    let from: Int
    let to: Int
    /// Of a question, or the one that is answered.
    let call: Int
    let message: Message
  }

  /// The receiver's work with one giver.
  struct Pull {
    enum State {
      case idle
      case asking(call: Int)
      case keeping
      case claiming(call: Int)
      case ending
    }
    var state = State.idle
    var settled: [TransferID] = []
    /// Of the offers that came last.
    var batch: [TransferID] = []
    /// Their positions, in order.
    var positions: [Int64] = []
    var moved: Set<TransferID> = []
    /// Up to where nothing is missing.
    var lastPosition: Int64 {
      zip(batch, positions).prefix { moved.contains($0.0) }.last?.1 ?? .min
    }
    var waits = true
  }

  /// A class, so that looking at one copies nothing.
  final class Node {
    var disk = Disk()
    var isUp = true
    var isPaused = false
    /// Since the last start.
    var claim: ModelClaim?
    var isOpen = false
    var backlog = Backlog()
    var out = OutgoingTransfers()
    var incoming = IncomingTransfers()
    var writes: [Write] = []
    var counter: Int64 = 0
    /// Left the backlog for a start that is not on disk.
    var starting: Set<Int> = []
    /// Jobs whose process runs.
    var executing: Set<Int> = []
    /// Those of them that an earlier life of the runner here started.
    var former: Set<Int> = []
    var pulls: [Int: Pull] = [:]
    /// Claims of a receiver that wait for decisions.
    var claims: [(call: Int, receiver: Int, ids: [TransferID])] = []
    /// Confirmations of a giver that wait for the end of what it moved here.
    var confirmations: [(call: Int, giver: Int, ids: [TransferID])] = []
  }

  /// What is left out on purpose, to show that the checks notice it.
  enum Fault: String, CaseIterable {
    case runsWhatCame, movesWhatChanged, movesTwice, startsBesideFormer, startsBeforeAllCame, forgetsRequeued,
      dropsUnanswered
  }

  let concurrency: Int
  let fault: Fault?
  var random: SeededGenerator
  var nodes: [Node] = []
  var messages: [Envelope] = []
  var acknowledged: Set<Int> = []
  var created = 0
  private var lastCall = 0
  private var lastTransfer = 0
  /// Attempts that were started, of each job.
  private var attempts: [Int: Int] = [:]
  var ends: [Int: Int] = [:]
  var log: [String] = []
  var violations: [String] = []
  /// Jobs that became a node's own when it had lost the runner to a third: until then nobody could say whose they were, so
  /// that what was queued later may have started.
  private var late: Set<Int> = []
  private let runner = RunnerName(trusted: "r")
  /// For statistics.
  var moves = 0

  init(seed: UInt64, fault: Fault? = nil) {
    random = SeededGenerator(seed: seed)
    self.fault = fault
    concurrency = Int.random(in: 1...3, using: &random) / 2 + 1
    nodes = (0..<Int.random(in: 3...5, using: &random)).map { _ in Node() }
    let claim = ModelClaim(epoch: 1, owner: 0)
    for index in nodes.indices { nodes[index].claim = claim }
    nodes[0].disk.claim = claim
    host(0)
  }

  // MARK: Small parts

  private func name(_ node: Int) -> NodeName { NodeName(trusted: "n\(node)") }
  private func index(_ name: NodeName) -> Int { Int(name.rawValue.dropFirst())! }
  private func id(_ job: Int) -> JobID { JobID(trusted: "\(job)") }
  private func number(_ id: JobID) -> Int { Int(id.rawValue)! }
  private func transfer(from giver: Int) -> Backlog.Transfer { Backlog.Transfer(runner: runner, giver: name(giver)) }
  private func owns(_ node: Int) -> Bool { nodes[node].claim?.owner == node && nodes[node].isUp }
  private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
  private mutating func pick<Element>(_ elements: [Element]) -> Element? { elements.randomElement(using: &random) }
  private var awake: [Int] {
    var awake: [Int] = []
    for (index, node) in nodes.enumerated() where node.isUp && !node.isPaused { awake.append(index) }
    return awake
  }
  private mutating func note(_ text: String) { log.append(text) }
  private mutating func newCall() -> Int {
    lastCall += 1
    return lastCall
  }

  private func ticket(_ job: Int, at node: Int) -> Backlog.Ticket {
    Backlog.Ticket(
      id: id(job), runner: runner, executor: ExecutorName(trusted: "x"), position: nodes[node].disk.rows[job]!.position)
  }

  private func record(_ job: Int, _ row: Row) -> JobRecord {
    JobRecord(
      job: Job(
        id: id(job), callerID: "", contextID: "", payload: "", runner: runner, executor: ExecutorName(trusted: "x")),
      status: row.status, attempt: row.attempt, createdAt: Timestamp(milliseconds: 0), position: row.position)
  }

  private mutating func send(_ message: Message, from: Int, to: Int, call: Int) {
    messages.append(Envelope(from: from, to: to, call: call, message: message))
  }

  // MARK: Events

  /// One thing happens.
  /// - Parameter isQuiet: nothing fails any more.
  mutating func advance(isQuiet: Bool) {
    switch Int.random(in: 0..<(isQuiet ? 74 : 100), using: &random) {
    case 0..<22: deliver(isQuiet: isQuiet)
    case 22..<44: write()
    case 44..<50: endOne()
    case 50..<58: if let node = pick(awake) { pull(node, isQuiet: isQuiet) }
    case 58..<63: if let node = pick(awake) { depart(node) }
    case 63..<66: if let node = pick(awake) { askAgain(node) }
    case 66..<70: gossip()
    case 70..<74: if !isQuiet { create() }
    case 74..<78: move()
    case 78..<82: adopt()
    case 82..<86: forgetMember()
    case 86..<90: pauseOrResume()
    default: crashOrStart()
    }
    for node in awake { takeStarts(node) }
  }

  /// All come back, and all messages arrive.
  mutating func heal() {
    for node in nodes.indices {
      nodes[node].isPaused = false
      if !nodes[node].isUp { start(node) }
      nodes[node].isOpen = true
      nodes[node].backlog.setOpen(runner, true)
    }
  }

  /// What is not at rest.
  var unrest: String {
    nodes.indices.map { index in
      let node = nodes[index]
      let rows = node.disk.rows.filter { $0.value.status != .completed }.map { "\($0.key) \($0.value.status)" }
      return "n\(index) claim \(node.claim.map { "\($0)" } ?? "-"), rows \(rows), in \(node.disk.incoming.keys),"
        + " out \(node.disk.outgoing.keys), writes \(node.writes), pulls \(node.pulls), waiting \(node.backlog.count),"
        + " elsewhere \(node.backlog.elsewhere), former \(node.former), executing \(node.executing)"
    }.joined(separator: "\n")
  }

  /// Everything that was acknowledged has ended, and nothing of a transfer is left.
  var isSettled: Bool {
    acknowledged.allSatisfy { job in nodes.contains { $0.disk.rows[job]?.status == .completed } }
      && nodes.allSatisfy { $0.disk.incoming.isEmpty && $0.disk.outgoing.isEmpty && $0.writes.isEmpty }
      && nodes.allSatisfy { $0.disk.rows.values.allSatisfy { $0.status == .completed } }
  }

  private mutating func create() {
    guard let node = pick(awake.filter { owns($0) && nodes[$0].isOpen }), created < 10 else { return }
    created += 1
    nodes[node].counter += 1
    let position = QueuePosition.first(of: UInt64(nodes[node].claim!.epoch)) + nodes[node].counter
    nodes[node].writes.append(.create(created, position: position))
  }

  private mutating func takeStarts(_ node: Int) {
    guard owns(node), nodes[node].isOpen else { return }
    while let start = nodes[node].backlog.next() {
      let job = number(start.ticket.id)
      checkOrder(of: job, at: node)
      nodes[node].starting.insert(job)
      nodes[node].writes.append(.start(job))
    }
  }

  private mutating func endOne() {
    let all = awake.flatMap { node in nodes[node].executing.sorted().map { (node, $0) } }
    guard let (node, job) = pick(all) else { return }
    nodes[node].executing.remove(job)
    // A runner that is told to stop its jobs for another owner queues them again.
    let isRequeued = !owns(node) && chance(20)
    nodes[node].writes.append(isRequeued ? .requeue(job) : .finish(job))
    if nodes[node].former.contains(job) { return }
    nodes[node].backlog.release(id(job))
  }

  private mutating func gossip() {
    guard let from = pick(awake), let claim = nodes[from].claim else { return }
    for to in awake where to != from && chance(60) { send(.gossip(claim), from: from, to: to, call: 0) }
  }

  /// The owner gives the runner to another.
  private mutating func move() {
    guard let node = pick(awake.filter { owns($0) && nodes[$0].isOpen }), let to = pick(awake.filter { $0 != node })
    else { return }
    nodes[node].backlog.setOpen(runner, false)
    nodes[node].isOpen = false
    note("n\(node) gives the runner to n\(to)")
    let claim = ModelClaim(epoch: nodes[node].claim!.epoch + 1, owner: to)
    send(.takeOver(claim), from: node, to: to, call: newCall())
  }

  /// A node believes that the owner is gone.
  private mutating func adopt() {
    guard let node = pick(awake), let claim = nodes[node].claim, claim.owner != node else { return }
    if awake.contains(claim.owner), chance(80) { return }
    note("n\(node) adopts the runner of n\(claim.owner)")
    gone(claim.owner, for: node)
    become(node, ModelClaim(epoch: claim.epoch + 1, owner: node))
  }

  /// A node believes that another is gone, or a move failed that may have been carried out.
  private mutating func forgetMember() {
    guard let node = pick(awake) else { return }
    if owns(node), !nodes[node].isOpen, nodes[node].disk.claim?.owner == node {
      nodes[node].isOpen = true
      nodes[node].backlog.setOpen(runner, true)
    }
    if let other = pick(nodes[node].pulls.keys.sorted()), chance(awake.contains(other) ? 20 : 100) {
      gone(other, for: node)
    }
  }

  private mutating func gone(_ other: Int, for node: Int) {
    guard nodes[node].pulls.removeValue(forKey: other) != nil else { return }
    note("n\(other) is gone for n\(node)")
    nodes[node].backlog.end(transfer(from: other))
    nodes[node].backlog.setRunning([], at: transfer(from: other))
  }

  private mutating func pauseOrResume() {
    guard let node = pick(Array(nodes.indices)), nodes[node].isUp else { return }
    nodes[node].isPaused.toggle()
    note("n\(node) \(nodes[node].isPaused ? "stands still" : "goes on")")
  }

  private mutating func crashOrStart() {
    guard let node = pick(Array(nodes.indices)) else { return }
    if !nodes[node].isUp { return start(node) }
    guard chance(40) else { return }
    note("n\(node) crashes")
    let disk = nodes[node].disk
    nodes[node] = Node()
    nodes[node].disk = disk
    nodes[node].isUp = false
  }

  private mutating func start(_ node: Int) {
    note("n\(node) starts")
    nodes[node].isUp = true
    nodes[node].claim = nodes[node].disk.claim ?? ModelClaim(epoch: 1, owner: 0)
    nodes[node].out = OutgoingTransfers(moved: Array(nodes[node].disk.outgoing.values))
    nodes[node].incoming = IncomingTransfers(Array(nodes[node].disk.incoming.values))
    nodes[node].counter = nodes[node].disk.rows.values.map { $0.position & QueuePosition.orderMask }.max() ?? 0
    for (job, row) in nodes[node].disk.rows where row.status == .running {
      nodes[node].disk.rows[job]!.status = .queued
    }
    // It asks a member, if there is one, before it opens.
    if let peer = pick(awake.filter { $0 != node }), let claim = nodes[peer].claim { learn(claim, at: node) }
    if owns(node) { host(node) }
  }

  // MARK: Ownership

  private mutating func learn(_ claim: ModelClaim, at node: Int) {
    guard let known = nodes[node].claim else {
      nodes[node].claim = claim
      return
    }
    guard claim.overrides(known) else { return }
    if claim.owner == node {
      // Its own claim of an earlier life, or one that it has not carried out yet.
      return become(node, ModelClaim(epoch: claim.epoch + 1, owner: node))
    }
    if owns(node) { giveUp(node) }
    nodes[node].claim = claim
    nodes[node].out.withdraw(runner)
    nodes[node].writes.append(.claim(claim))
  }

  private mutating func giveUp(_ node: Int) {
    nodes[node].former.formUnion(nodes[node].executing.union(nodes[node].starting))
    nodes[node].backlog = Backlog()
    nodes[node].pulls = [:]
    nodes[node].isOpen = false
  }

  /// The node owns the runner from now on.
  private mutating func become(_ node: Int, _ claim: ModelClaim, from giver: Int? = nil) {
    if owns(node) { giveUp(node) }
    nodes[node].claim = claim
    nodes[node].writes.append(.claim(claim))
    if fault != .movesWhatChanged { nodes[node].out.withdraw(runner) }
    host(node)
    if let giver { begin(giver, at: node) }
  }

  private mutating func host(_ node: Int) {
    nodes[node].isOpen = true
    nodes[node].backlog = Backlog()
    nodes[node].backlog.add(runner, concurrency: concurrency, executors: nil, isOpen: true, isRead: true)
    for job in nodes[node].former where fault != .startsBesideFormer {
      nodes[node].backlog.occupy(id(job), of: runner)
    }
    for (job, row) in nodes[node].disk.rows where row.status == .queued && !nodes[node].former.contains(job) {
      nodes[node].backlog.insert(ticket(job, at: node))
    }
  }

  // MARK: Receiving

  private mutating func begin(_ giver: Int, at node: Int) {
    guard nodes[node].pulls[giver] == nil else { return }
    nodes[node].pulls[giver] = Pull()
    if fault != .startsBeforeAllCame { nodes[node].backlog.begin(transfer(from: giver)) }
  }

  /// A pull goes on, or does again what had no answer.
  private mutating func pull(_ node: Int, isQuiet: Bool) {
    guard owns(node), let giver = pick(nodes[node].pulls.keys.sorted()) else { return }
    var pull = nodes[node].pulls[giver]!
    switch pull.state {
    case .idle: break
    case .asking, .claiming: guard chance(isQuiet ? 3 : 10) else { return }
    case .keeping, .ending: return
    }
    let call = newCall()
    if case .claiming = pull.state {
      pull.state = .claiming(call: call)
      send(.claim(pull.batch), from: node, to: giver, call: call)
    } else {
      pull.state = .asking(call: call)
      send(.release(epoch: nodes[node].claim!.epoch, settled: pull.settled), from: node, to: giver, call: call)
    }
    nodes[node].pulls[giver] = pull
  }

  private mutating func released(
    _ offers: [IncomingJob], _ running: Set<JobID>, _ waits: Bool, by giver: Int, at node: Int, call: Int
  ) {
    guard var pull = nodes[node].pulls[giver], case .asking(call) = pull.state else { return }
    pull.settled = []
    pull.waits = waits
    pull.batch = offers.map(\.transfer)
    let transfer = transfer(from: giver)
    if waits, fault != .startsBeforeAllCame {
      nodes[node].backlog.begin(transfer)
      if let first = offers.first?.record.position, fault != .forgetsRequeued {
        nodes[node].backlog.expect(first, of: transfer)
      }
    }
    if fault != .startsBesideFormer { nodes[node].backlog.setRunning(running, at: transfer) }
    if !waits { nodes[node].backlog.end(transfer) }
    if offers.isEmpty {
      pull.state = .idle
    } else {
      pull.state = .keeping
      pull.positions = offers.compactMap(\.record.position)
      pull.moved = []
      nodes[node].writes.append(.keep(offers, from: giver))
    }
    nodes[node].pulls[giver] = !waits && running.isEmpty ? nil : pull
  }

  private mutating func kept(_ jobs: [IncomingJob], from giver: Int, at node: Int) {
    nodes[node].incoming.keep(jobs)
    if fault == .runsWhatCame, owns(node) {
      for job in jobs { finishTransfer(job.transfer, isMoved: true, at: node) }
    }
    guard nodes[node].pulls[giver] != nil, case .keeping = nodes[node].pulls[giver]!.state else { return }
    let call = newCall()
    nodes[node].pulls[giver]!.state = .claiming(call: call)
    send(.claim(jobs.map(\.transfer)), from: node, to: giver, call: call)
  }

  private mutating func finishTransfer(_ id: TransferID, isMoved: Bool, at node: Int) {
    guard nodes[node].incoming.beginEnd(id) else { return }
    nodes[node].writes.append(isMoved ? .admit(id) : .drop(id))
  }

  /// A transfer's end is on disk.
  private mutating func ended(_ id: TransferID, giver: Int, isMoved: Bool, at node: Int) {
    nodes[node].incoming.end(id, isWritten: true)
    if var pull = nodes[node].pulls[giver], case .ending = pull.state {
      if isMoved {
        pull.settled.append(id)
        pull.moved.insert(id)
      }
      if pull.batch.allSatisfy({ nodes[node].incoming[$0] == nil }) {
        nodes[node].backlog.advance(transfer(from: giver), to: pull.lastPosition)
        pull.state = .idle
      }
      nodes[node].pulls[giver] = pull
    }
    answerConfirmations(node)
  }

  private mutating func answerConfirmations(_ node: Int) {
    for place in nodes[node].confirmations.indices.reversed() {
      let confirmation = nodes[node].confirmations[place]
      guard confirmation.ids.allSatisfy({ nodes[node].incoming[$0] == nil }) else { continue }
      nodes[node].confirmations.remove(at: place)
      send(.confirmed(confirmation.ids), from: node, to: confirmation.giver, call: confirmation.call)
    }
  }

  // MARK: Giving

  private func waiting(_ node: Int) -> [Int] {
    let held = nodes[node].starting.union(nodes[node].executing)
    return nodes[node].disk.rows.filter { $0.value.status == .queued && !held.contains($0.key) }
      .sorted { $0.value.position < $1.value.position }.map(\.key)
  }

  private func isBusy(_ node: Int) -> Bool {
    nodes[node].writes.contains {
      switch $0 {
      case .create, .start, .finish, .requeue, .admit: true
      default: false
      }
    }
  }

  /// A node with jobs of a runner that is another's asks that one to receive them.
  private mutating func depart(_ node: Int) {
    guard let claim = nodes[node].claim, claim.owner != node else { return }
    guard
      !waiting(node).isEmpty || !nodes[node].executing.isEmpty || isBusy(node) || nodes[node].out.isUnderWay(runner)
    else { return }
    send(.receive(epoch: claim.epoch), from: node, to: claim.owner, call: newCall())
  }

  private mutating func release(to receiver: Int, epoch: Int64, _ settled: [TransferID], at node: Int, call: Int) {
    let forgotten = nodes[node].out.settled(settled)
    if !forgotten.isEmpty { nodes[node].writes.append(.erase(forgotten)) }
    guard let claim = nodes[node].claim, claim.owner == receiver, claim.epoch == epoch else { return }
    let all = waiting(node)
    let batch = all.prefix(Int.random(in: 1...3, using: &random))
    var offers: [IncomingJob] = []
    for job in batch {
      lastTransfer += 1
      let transfer = TransferID(trusted: "t\(lastTransfer)")
      let record = record(job, nodes[node].disk.rows[job]!)
      nodes[node].out.offer(record, to: name(receiver), as: transfer)
      offers.append(IncomingJob(transfer: transfer, record: record, giver: name(node)))
    }
    let running = nodes[node].executing.union(nodes[node].starting).union(
      nodes[node].writes.compactMap {
        switch $0 {
        case .finish(let job), .requeue(let job): job
        default: nil
        }
      })
    let isWaitedFor = !all.isEmpty || nodes[node].writes.contains { if case .create = $0 { true } else { false } }
    send(
      .released(offers, running: Set(running.map(id)), waits: isWaitedFor), from: node, to: receiver, call: call)
  }

  private mutating func claim(_ ids: [TransferID], by receiver: Int, at node: Int, call: Int) {
    for id in ids {
      switch nodes[node].out.claim(id) {
      case .decide(let offer): nodes[node].writes.append(.move(id, offer))
      case .wait, .moved, .notMoved: break
      }
    }
    nodes[node].claims.append((call, receiver, ids))
    answerClaims(node)
  }

  private mutating func answerClaims(_ node: Int) {
    for place in nodes[node].claims.indices.reversed() {
      let claim = nodes[node].claims[place]
      var verdicts: [TransferID: Bool] = [:]
      for id in claim.ids {
        switch nodes[node].out.claim(id) {
        case .moved: verdicts[id] = true
        case .notMoved: verdicts[id] = false
        case .wait, .decide: break
        }
      }
      guard verdicts.count == claim.ids.count else { continue }
      nodes[node].claims.remove(at: place)
      send(.claimed(verdicts), from: node, to: claim.receiver, call: claim.call)
    }
  }

  /// What had no answer is asked for again: by the receiver of what it keeps, by the giver of what it moved.
  private mutating func askAgain(_ node: Int) {
    let busy = Set(nodes[node].pulls.values.flatMap(\.batch))
    if let giver = pick(nodes[node].incoming.givers.map(index).sorted()) {
      let ids = nodes[node].incoming.unknown(from: name(giver)).filter { !busy.contains($0) }
      if fault == .dropsUnanswered {
        for id in ids { finishTransfer(id, isMoved: false, at: node) }
      } else if !ids.isEmpty {
        send(.claim(ids), from: node, to: giver, call: newCall())
      }
    }
    if let receiver = pick(Set(nodes[node].out.moved.map { index($0.receiver) }).sorted()) {
      let ids = nodes[node].out.moved.filter { index($0.receiver) == receiver }.map(\.transfer)
      send(.confirm(ids), from: node, to: receiver, call: newCall())
    }
  }

  // MARK: Messages

  private mutating func deliver(isQuiet: Bool) {
    let places = messages.indices.filter {
      let to = nodes[messages[$0].to]
      return !to.isPaused
    }
    guard let place = pick(places) else { return }
    let envelope = messages[place]
    if isQuiet || !chance(10) { messages.remove(at: place) }
    guard nodes[envelope.to].isUp, isQuiet || !chance(8) else { return }
    receive(envelope)
  }

  private mutating func receive(_ envelope: Envelope) {
    let (node, from, call) = (envelope.to, envelope.from, envelope.call)
    switch envelope.message {
    case .gossip(let claim): learn(claim, at: node)
    case .takeOver(let claim):
      guard claim.overrides(nodes[node].claim!) else { return }
      become(node, claim, from: from)
    case .receive(let epoch):
      guard owns(node), nodes[node].claim!.epoch >= epoch else { return }
      begin(from, at: node)
    case .release(let epoch, let settled): release(to: from, epoch: epoch, settled, at: node, call: call)
    case .released(let offers, let running, let waits):
      released(offers, running, waits, by: from, at: node, call: call)
    case .claim(let ids): claim(ids, by: from, at: node, call: call)
    case .claimed(let verdicts):
      // An answer counts once; the answer to a question that was asked again counts for what is still kept.
      if var pull = nodes[node].pulls[from], case .claiming(call) = pull.state {
        pull.state = .ending
        nodes[node].pulls[from] = pull
      }
      for (id, isMoved) in verdicts.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
        finishTransfer(id, isMoved: isMoved, at: node)
      }
      endEmptyPull(from, at: node)
    case .confirm(let ids):
      for id in ids { finishTransfer(id, isMoved: true, at: node) }
      nodes[node].confirmations.append((call, from, ids))
      answerConfirmations(node)
    case .confirmed(let ids):
      let forgotten = nodes[node].out.settled(ids)
      if !forgotten.isEmpty { nodes[node].writes.append(.erase(forgotten)) }
    }
  }

  /// All of a batch may have ended on another way before.
  private mutating func endEmptyPull(_ giver: Int, at node: Int) {
    guard var pull = nodes[node].pulls[giver], case .ending = pull.state,
      pull.batch.allSatisfy({ nodes[node].incoming[$0] == nil })
    else { return }
    nodes[node].backlog.advance(transfer(from: giver), to: pull.lastPosition)
    pull.state = .idle
    nodes[node].pulls[giver] = pull
  }

  // MARK: Disks

  private mutating func write() {
    guard let node = pick(awake.filter { !nodes[$0].writes.isEmpty }) else { return }
    commit(nodes[node].writes.removeFirst(), at: node)
    check()
  }

  private mutating func commit(_ write: Write, at node: Int) {
    switch write {
    case .create(let job, let position):
      nodes[node].disk.rows[job] = Row(status: .queued, attempt: 0, position: position)
      acknowledged.insert(job)
      if owns(node) { nodes[node].backlog.insert(ticket(job, at: node)) }
      note("\(job) is acknowledged by n\(node)")
    case .start(let job):
      nodes[node].starting.remove(job)
      guard var row = nodes[node].disk.rows[job], row.status == .queued else {
        nodes[node].former.remove(job)
        nodes[node].backlog.drop(id(job))
        nodes[node].backlog.vacate(id(job), of: runner)
        return
      }
      row.status = .running
      row.attempt += 1
      nodes[node].disk.rows[job] = row
      begin(job, row.attempt, at: node)
    case .finish(let job), .requeue(let job):
      guard nodes[node].disk.rows[job]?.status == .running else { return }
      let isFormer = nodes[node].former.remove(job) != nil
      if case .finish = write {
        nodes[node].disk.rows[job]!.status = .completed
        ends[job, default: 0] += 1
        note("\(job) has ended at n\(node)")
      } else {
        nodes[node].disk.rows[job]!.status = .queued
        note("\(job) is queued again at n\(node)")
      }
      nodes[node].backlog.drop(id(job))
      if isFormer {
        // What it queued again goes before the next one.
        if owns(node), case .requeue = write { nodes[node].backlog.insert(ticket(job, at: node)) }
        nodes[node].backlog.vacate(id(job), of: runner)
      } else if case .requeue = write, owns(node) {
        nodes[node].backlog.insert(ticket(job, at: node))
      }
    case .claim(let claim): nodes[node].disk.claim = claim
    case .keep(let jobs, let giver):
      for job in jobs { nodes[node].disk.incoming[job.transfer] = job }
      kept(jobs, from: giver, at: node)
    case .move(let id, let offer):
      let job = number(offer.job)
      let row = nodes[node].disk.rows[job]
      let isMoved =
        row?.status == offer.status && row?.attempt == offer.attempt || fault == .movesWhatChanged && row != nil
      if isMoved {
        if fault != .movesTwice { nodes[node].disk.rows[job] = nil }
        nodes[node].backlog.withdraw(self.id(job))
        nodes[node].disk.outgoing[id] = MovedJob(
          transfer: id, job: offer.job, runner: runner, receiver: offer.receiver)
        moves += 1
        note("\(job) is moved from n\(node) to \(offer.receiver) by \(id.rawValue)")
      }
      nodes[node].out.decided(id, isMoved: isMoved)
      answerClaims(node)
    case .admit(let id):
      guard let incoming = nodes[node].disk.incoming.removeValue(forKey: id) else { return }
      let job = number(incoming.record.job.id)
      nodes[node].disk.rows[job] = Row(
        status: .queued, attempt: incoming.record.attempt, position: incoming.record.position!)
      note("\(job) is n\(node)'s by \(id.rawValue)")
      if owns(node) { nodes[node].backlog.insert(ticket(job, at: node)) } else { late.insert(job) }
      ended(id, giver: index(incoming.giver), isMoved: true, at: node)
    case .drop(let id):
      guard let incoming = nodes[node].disk.incoming.removeValue(forKey: id) else { return }
      ended(id, giver: index(incoming.giver), isMoved: false, at: node)
    case .erase(let ids):
      for id in ids { nodes[node].disk.outgoing[id] = nil }
      nodes[node].out.forget(ids)
    }
  }

  // MARK: What must hold

  private mutating func begin(_ job: Int, _ attempt: Int, at node: Int) {
    note("\(job) starts at n\(node), attempt \(attempt)")
    if nodes.contains(where: { $0.executing.contains(job) }) { violations.append("\(job) runs beside itself") }
    if attempt != (attempts[job] ?? 0) + 1 {
      violations.append("\(job) starts attempt \(attempt) after \(attempts[job] ?? 0)")
    }
    if ends[job] != nil { violations.append("\(job) starts after its end") }
    attempts[job] = attempt
    nodes[node].executing.insert(job)
  }

  /// What a node starts while it knows of a former owner: as many as the runner may at both together, and in order.
  private mutating func checkOrder(of job: Int, at node: Int) {
    let position = nodes[node].disk.rows[job]?.position ?? .max
    // Those whose end is not on disk count no more: the next start is written after it.
    var running = nodes[node].starting.count + nodes[node].executing.count
    var before = nodes[node].disk.rows.filter { $0.value.status == .queued && $0.value.position < position }.map(\.key)
      .filter { !nodes[node].starting.contains($0) }
    // A giver that has heard of a later owner is not this node's any more; this one has not heard of it yet.
    for giver in nodes[node].pulls.keys where nodes[giver].isUp && nodes[giver].claim == nodes[node].claim {
      running += nodes[giver].executing.count
      before += nodes[giver].disk.rows.filter { $0.value.status == .queued && $0.value.position < position }.map(\.key)
        .filter { !nodes[giver].starting.contains($0) && !late.contains($0) }
    }
    if running >= concurrency { violations.append("\(job) starts at n\(node) as number \(running + 1) at a time") }
    if concurrency == 1, !before.isEmpty { violations.append("\(job) starts at n\(node) before \(before)") }
  }

  private mutating func check() {
    for job in acknowledged {
      let rows = nodes.indices.filter { nodes[$0].disk.rows[job] != nil }
      if rows.count > 1 { violations.append("\(job) is at \(rows)") }
      guard rows.isEmpty else { continue }
      let isOnItsWay = nodes.contains { giver in
        giver.disk.outgoing.values.contains {
          $0.job == id(job) && nodes[index($0.receiver)].disk.incoming[$0.transfer] != nil
        }
      }
      if !isOnItsWay { violations.append("\(job) is lost") }
    }
  }
}
