import Cluster
import Testing

@testable import Supervisor

/// What distributed calls carry comes back as it was.
@Suite(.timeLimit(.minutes(5))) struct WireTests {
  private func comesBack<Value: WireValue & Equatable>(_ value: Value) throws {
    #expect(try Value(wireBytes: value.wireBytes) == value)
    // Cut short anywhere, it is refused.
    let bytes = value.wireBytes
    for count in 0..<bytes.count {
      #expect(throws: MalformedWire.self) { try Value(wireBytes: Array(bytes.prefix(count))) }
    }
  }

  private let job = Job(
    id: JobID(trusted: "j"), callerID: "", contextID: "x\u{301}", payload: "a\u{0}b\n",
    runner: RunnerName(trusted: "r"),
    executor: .shell, timeoutSeconds: 0.25, environment: ["A": "1", "B": ""])

  @Test func `jobs and their records`() throws {
    try comesBack(job)
    try comesBack(JobRecord(job: job, createdAt: Timestamp(milliseconds: 5)))
    let ended = JobRecord(
      job: job, status: .timeout, attempt: 3, createdAt: Timestamp(milliseconds: 5),
      updatedAt: Timestamp(milliseconds: 6), startedAt: Timestamp(milliseconds: 7),
      completedAt: Timestamp(milliseconds: 8), result: .error("late"))
    try comesBack(ended)
    try comesBack(JobSummary(ended))
    try comesBack(JobResult.success(""))
    try comesBack(JobPage(jobs: [ended, ended], positions: ["1", "2"], isLast: false))
    let output = JobOutput(stdout: [0, 255], stderr: [], stdoutDropped: 1, stderrDropped: 0)
    try comesBack(LiveOutput(output: output, attempt: 2, isFinal: true))
  }

  @Test func `transfers`() throws {
    let id = TransferID.random()
    #expect(id != .random())
    try comesBack(id)
    var record = JobRecord(job: job, status: .queued, attempt: 2, createdAt: Timestamp(milliseconds: 5))
    record.position = QueuePosition.first(of: 7) + 3
    let offer = OfferedJob(transfer: id, record: record)
    try comesBack(offer)
    try comesBack(OfferedJob(transfer: id, record: JobRecord(job: job, createdAt: Timestamp(milliseconds: 5))))
    let activity = GiverActivity(running: [job.id], waits: true)
    try comesBack(Release(offers: [offer], activity: activity))
    var request = ReleaseRequest(runner: job.runner, epoch: 9, receiver: NodeName(trusted: "n"))
    try comesBack(request)
    (request.settled, request.refused, request.known) = ([id], [job.id], activity)
    try comesBack(request)
    // What no giver may offer: a job that runs, one that waits nowhere, an id of another form.
    record.status = .running
    #expect(throws: MalformedWire.self) {
      try OfferedJob(wireBytes: OfferedJob(transfer: id, record: record).wireBytes)
    }
    record.status = .queued
    record.position = nil
    #expect(throws: MalformedWire.self) {
      try OfferedJob(wireBytes: OfferedJob(transfer: id, record: record).wireBytes)
    }
    #expect(throws: MalformedWire.self) { try TransferID(wireBytes: "x'; DROP".wireBytes) }
  }

  @Test func `queries`() throws {
    try comesBack(JobQuery())
    var query = JobQuery(limit: 7, maximumBytes: 8, parts: [.environment])
    query.runner = RunnerName(trusted: "r")
    query.runners = [RunnerName(trusted: "r"), RunnerName(trusted: "s")]
    query.status = .queued
    query.callerID = ""
    query.contextID = "c"
    query.createdFrom = Timestamp(milliseconds: -1)
    query.createdBefore = Timestamp(milliseconds: 1)
    query.cursor = "9"
    try comesBack(query)
  }

  @Test func `runners`() throws {
    try comesBack(
      RunnerStatus(
        name: RunnerName(trusted: "r"), queue: QueueName(trusted: "q"), node: NodeName(trusted: "n"), state: .stopping,
        epoch: 2, concurrency: 3, queued: 4, running: 5, completed: 6, failed: 7, timeout: 8))
    try comesBack(
      RegisteredRunner(
        name: RunnerName(trusted: "r"), queue: QueueName(trusted: "q"), isStopped: true, epoch: .max,
        newOwner: NodeName(trusted: "n")))
  }

  @Test func `every error`() throws {
    let (runner, queue) = (RunnerName(trusted: "r"), QueueName(trusted: "q"))
    let (id, node) = (JobID(trusted: "j"), NodeName(trusted: "n"))
    let errors: [SupervisorError] = [
      .runnerNotFound(runner), .queueConflict(runner, queue), .runnerState(runner, .stopping, "why"),
      .executorNotAllowed(.shell, runner, allowed: [.echo]), .invalidJob(field: "f", reason: "r"), .draining, .joining,
      .nodeNotReached(node, "why"), .ownerUnreachable([node], "why"), .moving(id, to: node),
      .outOfScope(id), .nodeUnavailable(nil, "why"), .nodeUnavailable(node, ""), .store(.notFound(id)),
      .store(.conflict(id)),
      .store(.wrongState(id, .running)), .store(.unavailable("full", retryAfterMilliseconds: 5)),
      .store(.invalidCursor("c")), .store(.cancelled),
    ]
    for error in errors { try comesBack(error) }
  }
}
