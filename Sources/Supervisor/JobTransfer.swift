// The transfer of jobs from the node that has lost a runner, the giver, to the owner, the receiver, where each node keeps
// its jobs in a store of its own. Two values hold the two parts; neither knows a clock, a disk or a socket.
//
//   receiver                                   giver
//   release ------------------------------->   offers waiting jobs, each under an id that is used once
//   keeps them on disk, not runnable   <----
//   claim --------------------------------->   writes `moved` and forgets the job, in one transaction: the decision
//   makes them runnable, on disk       <----   or "not moved", which withdraws the offer for good
//   settled ------------------------------->   forgets that it moved them
//
// Until the decision the job is the giver's alone, from then on the receiver's alone, so that it is runnable at one place
// at most. Offers that were not decided are kept in the giver's memory only: a crash withdraws them. Whoever lost an
// answer asks again: the receiver claims what it keeps, the giver confirms what it moved. Both may be repeated, since an
// offer is kept only from the answer to a question that the receiver has just asked.

/// Names one offer of one job to one node.
public struct TransferID: Hashable, Sendable {
  /// 32 hexadecimal digits.
  public let rawValue: String

  static func random() -> TransferID {
    var digits = ""
    for _ in 0..<2 {
      let word = String(UInt64.random(in: 0...(.max)), radix: 16)
      digits += String(repeating: "0", count: 16 - word.utf8.count) + word
    }
    return TransferID(trusted: digits)
  }

  public init(trusted text: String) { rawValue = text }
}

/// A job that a giver has moved, as long as the receiver may have to be told.
public struct MovedJob: Hashable, Sendable {
  public let transfer: TransferID
  public let job: JobID
  public let runner: RunnerName
  public let receiver: NodeName

  public init(transfer: TransferID, job: JobID, runner: RunnerName, receiver: NodeName) {
    self.transfer = transfer
    self.job = job
    self.runner = runner
    self.receiver = receiver
  }
}

/// A job that a receiver keeps while it does not know the giver's decision.
public struct IncomingJob: Hashable, Sendable {
  public let transfer: TransferID
  /// As it was when it was offered, with its position.
  public let record: JobRecord
  public let giver: NodeName

  public init(transfer: TransferID, record: JobRecord, giver: NodeName) {
    self.transfer = transfer
    self.record = record
    self.giver = giver
  }
}

// MARK: The giver

/// What a node has offered and moved.
struct OutgoingTransfers: Sendable {
  /// A job as it was when it was offered. If it has changed since, this offer cannot move it.
  struct Offer: Hashable, Sendable {
    let job: JobID
    let runner: RunnerName
    let receiver: NodeName
    let status: JobStatus
    let attempt: Int
  }

  /// What is to be done about a claim.
  enum Claim: Hashable, Sendable {
    /// Write the decision if the job is still as it was offered, then call `decided`.
    case decide(Offer)
    /// It is being written.
    case wait
    case moved
    /// It was not, and never will be under this offer.
    case notMoved
  }

  private enum State {
    case open(Offer)
    case deciding(Offer)
    case moved(MovedJob)
  }

  private var states: [TransferID: State] = [:]
  /// The last offer of each job that is open.
  private var open: [JobID: TransferID] = [:]
  private var receivers: [JobID: (receiver: NodeName, transfers: Int)] = [:]

  /// - Parameter moved: what the store says at the start.
  init(moved: [MovedJob] = []) {
    for job in moved { note(job) }
  }

  /// A job is offered, instead of any offer of it before.
  mutating func offer(_ record: JobRecord, to receiver: NodeName, as id: TransferID) {
    precondition(states[id] == nil, "the id of an offer is used once")
    let job = record.job
    if let former = open.updateValue(id, forKey: job.id) { states[former] = nil }
    states[id] = .open(
      Offer(job: job.id, runner: job.runner, receiver: receiver, status: record.status, attempt: record.attempt))
  }

  /// The receiver has it on disk, and asks whether it was moved.
  mutating func claim(_ id: TransferID) -> Claim {
    switch states[id] {
    case .open(let offer):
      states[id] = .deciding(offer)
      open[offer.job] = nil
      return .decide(offer)
    case .deciding: return .wait
    case .moved: return .moved
    case nil: return .notMoved
    }
  }

  /// - Parameter isMoved: whether the decision is on disk; if not, nothing was written.
  mutating func decided(_ id: TransferID, isMoved: Bool) {
    guard case .deciding(let offer) = states.removeValue(forKey: id) else { return }
    if isMoved { note(MovedJob(transfer: id, job: offer.job, runner: offer.runner, receiver: offer.receiver)) }
  }

  private mutating func note(_ job: MovedJob) {
    states[job.transfer] = .moved(job)
    receivers[job.job] = (job.receiver, (receivers[job.job]?.transfers ?? 0) + 1)
  }

  /// The runner is this node's again, or another's: what was offered and not claimed stays here.
  mutating func withdraw(_ runner: RunnerName) {
    for (id, state) in states {
      guard case .open(let offer) = state, offer.runner == runner else { continue }
      states[id] = nil
      open[offer.job] = nil
    }
  }

  /// Whether a job was moved under this id; `nil` while that is being written.
  func isMoved(_ id: TransferID) -> Bool? {
    switch states[id] {
    case .moved: true
    case .deciding: nil
    case .open, nil: false
    }
  }

  /// The receiver has made them its own, on disk.
  /// - Returns: those that can be forgotten on disk.
  func settled(_ ids: [TransferID]) -> [TransferID] {
    ids.filter { if case .moved = states[$0] { true } else { false } }
  }

  /// They are forgotten on disk.
  mutating func forget(_ ids: [TransferID]) {
    for id in ids {
      guard case .moved(let job) = states.removeValue(forKey: id), let known = receivers[job.job] else { continue }
      receivers[job.job] = known.transfers > 1 ? (known.receiver, known.transfers - 1) : nil
    }
  }

  /// To whom a job was moved, as long as that is not settled.
  func receiver(of job: JobID) -> NodeName? { receivers[job]?.receiver }

  /// What the receivers have to be told of.
  var moved: [MovedJob] {
    states.values.compactMap { if case .moved(let job) = $0 { job } else { nil } }
  }

  /// Whether a decision about a job of this runner is being written or not settled.
  func isUnderWay(_ runner: RunnerName) -> Bool {
    states.values.contains {
      switch $0 {
      case .open: false
      case .deciding(let offer): offer.runner == runner
      case .moved(let job): job.runner == runner
      }
    }
  }
}

// MARK: The receiver

/// What a node keeps for givers that have not said whether they moved it.
struct IncomingTransfers: Sendable {
  private var kept: [TransferID: IncomingJob] = [:]
  /// Those whose end is being written.
  private var ending: Set<TransferID> = []

  /// - Parameter jobs: what the store says at the start.
  init(_ jobs: [IncomingJob] = []) { keep(jobs) }

  /// They are on disk.
  mutating func keep(_ jobs: [IncomingJob]) {
    for job in jobs { kept[job.transfer] = job }
  }

  subscript(id: TransferID) -> IncomingJob? { kept[id] }

  /// The giver's decision is known.
  /// - Returns: whether it is to be written now; not if it is being written, or was.
  mutating func beginEnd(_ id: TransferID) -> Bool { kept[id] != nil && ending.insert(id).inserted }

  func isEnding(_ id: TransferID) -> Bool { ending.contains(id) }

  /// - Parameter isWritten: whether it is the node's own job now, or gone.
  mutating func end(_ id: TransferID, isWritten: Bool) {
    ending.remove(id)
    if isWritten { kept[id] = nil }
  }

  /// What has to be claimed of a giver.
  func unknown(from giver: NodeName) -> [TransferID] { kept.filter { $0.value.giver == giver }.map(\.key) }

  /// Who has not said yet what it decided.
  var givers: Set<NodeName> { Set(kept.values.map(\.giver)) }

  var count: Int { kept.count }

  /// Whether a job of this runner is kept.
  func contains(_ runner: RunnerName) -> Bool { kept.values.contains { $0.record.job.runner == runner } }

  /// Who may have moved a job here.
  func giver(of job: JobID) -> NodeName? { kept.values.first { $0.record.job.id == job }?.giver }
}
