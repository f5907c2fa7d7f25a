import Cluster
import Testing

@testable import Supervisor

/// What distributed calls carry, to the byte: nodes of other versions read and write just this, and a field that moves on
/// both sides would come back as it was. (docs/peer-protocol.md, Channel 1)
@Suite("Distributed calls: written bytes", .timeLimit(.minutes(5)))
struct WireBytesTests {
  private func isWritten<Value: WireValue & Equatable>(
    _ value: Value, _ hexadecimal: String, _ location: SourceLocation = #_sourceLocation
  ) throws {
    let bytes = try bytes(hexadecimal)
    #expect(value.wireBytes == bytes, "\(value)", sourceLocation: location)
    #expect(try Value(wireBytes: bytes) == value, sourceLocation: location)
  }

  private func bytes(_ hexadecimal: String) throws -> [UInt8] {
    let digits = hexadecimal.filter { !$0.isWhitespace }
    return try stride(from: 0, to: digits.count, by: 2).map { offset in
      try #require(UInt8(digits.dropFirst(offset).prefix(2), radix: 16))
    }
  }

  private let runner = RunnerName(trusted: "r")
  private let queue = QueueName(trusted: "q")
  private let node = NodeName(trusted: "n")
  private let id = JobID(trusted: "j")

  private var job: Job {
    Job(
      id: id, callerID: "me", contextID: "tour", payload: "echo é", runner: runner, executor: .shell,
      timeoutSeconds: 2.5,
      environment: ["A": "b"])
  }

  private var ended: JobRecord {
    JobRecord(
      job: job, status: .completed, attempt: 2, createdAt: Timestamp(milliseconds: 1),
      updatedAt: Timestamp(milliseconds: 2), startedAt: Timestamp(milliseconds: 3),
      completedAt: Timestamp(milliseconds: 4), result: .success("out"))
  }

  private var waiting: JobRecord {
    JobRecord(job: job, status: .queued, attempt: 1, createdAt: Timestamp(milliseconds: 1), position: 7)
  }

  private var activity: GiverActivity { GiverActivity(running: [id], waits: true) }

  private var query: JobQuery {
    var query = JobQuery(limit: 7, maximumBytes: 8, parts: [.payload, .result])
    query.runner = runner
    query.runners = [runner, RunnerName(trusted: "s")]
    query.status = .running
    query.callerID = ""
    query.contextID = "c"
    query.createdFrom = Timestamp(milliseconds: -1)
    query.createdBefore = Timestamp(milliseconds: 1)
    query.cursor = "1-2"
    return query
  }

  private var request: ReleaseRequest {
    ReleaseRequest(
      runner: runner, epoch: 9, receiver: node, settled: [TransferID(trusted: "0123456789abcdef0123456789abcdef")],
      refused: [id], known: activity)
  }

  @Test("of each value")
  func values() throws {
    try isWritten(
      job,
      """
      00000001 6a000000 026d6500 00000474 6f757200 00000765 63686f20 c3a90000 00017200 00000573 68656c6c
      40040000 00000000 00000001 00000001 41000000 0162
      """)
    try isWritten(
      ended,
      """
      00000001 6a000000 026d6500 00000474 6f757200 00000765 63686f20 c3a90000 00017200 00000573 68656c6c
      40040000 00000000 00000001 00000001 41000000 01620000 0009636f 6d706c65 74656400 00000000 00000200
      00000000 00000100 00000000 00000201 00000000 00000003 01000000 00000000 04010100 0000036f 7574
      """)
    try isWritten(
      JobSummary(ended),
      """
      00000001 6a000000 01720000 0009636f 6d706c65 74656400 00000000 00000101 00000000 00000003 01000000
      00000000 04
      """)
    try isWritten(
      JobResult.error("late"),
      "00000000 046c6174 65")
    try isWritten(
      LiveOutput(
        output: JobOutput(stdout: [0, 255], stderr: [10], stdoutDropped: 1, stderrDropped: 2), attempt: 3, isFinal: true
      ),
      "00000002 00ff0000 00010a00 00000000 00000100 00000000 00000200 00000000 00000301")
    try isWritten(
      JobPage(jobs: [ended], positions: ["1-2"], isLast: false),
      """
      00000001 00000001 6a000000 026d6500 00000474 6f757200 00000765 63686f20 c3a90000 00017200 00000573
      68656c6c 40040000 00000000 00000001 00000001 41000000 01620000 0009636f 6d706c65 74656400 00000000
      00000200 00000000 00000100 00000000 00000201 00000000 00000003 01000000 00000000 04010100 0000036f
      75740000 00010000 0003312d 3200
      """)
    try isWritten(
      query,
      """
      01000000 01720100 00000200 00000172 00000001 73010000 00077275 6e6e696e 67010000 00000100 00000163
      01ffffff ffffffff ff010000 00000000 00010100 00000331 2d320000 00000000 00070000 00000000 000805
      """)
    try isWritten(
      JobQuery(limit: 1, maximumBytes: 2),
      "00000000 00000000 00000000 00000001 00000000 00000002 07")
    try isWritten(
      TransferID(trusted: "0123456789abcdef0123456789abcdef"),
      "00000020 30313233 34353637 38396162 63646566 30313233 34353637 38396162 63646566")
    try isWritten(
      OfferedJob(transfer: TransferID(trusted: "0123456789abcdef0123456789abcdef"), record: waiting),
      """
      00000020 30313233 34353637 38396162 63646566 30313233 34353637 38396162 63646566 00000001 6a000000
      026d6500 00000474 6f757200 00000765 63686f20 c3a90000 00017200 00000573 68656c6c 40040000 00000000
      00000001 00000001 41000000 01620000 00067175 65756564 00000000 00000001 00000000 00000001 00000000
      00000001 00000001 00000000 00000007
      """)
    try isWritten(
      activity,
      "00000001 00000001 6a01")
    try isWritten(
      Release(offers: [], activity: activity),
      "00000000 00000001 00000001 6a01")
    try isWritten(
      request,
      """
      00000001 72000000 00000000 09000000 016e0000 00010000 00203031 32333435 36373839 61626364 65663031
      32333435 36373839 61626364 65660000 00010000 00016a01 00000001 00000001 6a01
      """)
    try isWritten(
      RunnerStatus(
        name: runner, queue: queue, node: node, state: .stopping, epoch: 2, concurrency: 3, queued: 4, running: 5,
        completed: 6, failed: 7, timeout: 8),
      """
      00000001 72000000 01710000 00016e00 00000873 746f7070 696e6700 00000000 00000200 00000000 00000300
      00000000 00000400 00000000 00000500 00000000 00000600 00000000 00000700 00000000 000008
      """)
    try isWritten(
      RegisteredRunner(name: runner, queue: queue, isStopped: true, epoch: 258, newOwner: node),
      "00000001 72000000 01710100 00000000 00010201 00000001 6e")
  }

  @Test("of each error")
  func errors() throws {
    try isWritten(SupervisorError.runnerNotFound(runner), "01000000 0172")
    try isWritten(SupervisorError.queueConflict(runner, queue), "02000000 01720000 000171")
    try isWritten(
      SupervisorError.runnerState(runner, .stopped, "why"), "03000000 01720000 00077374 6f707065 64000000 03776879")
    try isWritten(
      SupervisorError.executorNotAllowed(.shell, runner, allowed: [.echo]),
      "04000000 05736865 6c6c0000 00017200 00000100 00000465 63686f")
    try isWritten(SupervisorError.invalidJob(field: "f", reason: "g"), "05000000 01660000 000167")
    try isWritten(SupervisorError.draining, "06")
    try isWritten(SupervisorError.joining, "07")
    try isWritten(SupervisorError.ownerUnreachable([node], "why"), "08000000 01000000 016e0000 00037768 79")
    try isWritten(SupervisorError.moving(id, to: node), "09000000 016a0000 00016e")
    try isWritten(SupervisorError.nodeUnavailable(node, "why"), "0a010000 00016e00 00000377 6879")
    try isWritten(SupervisorError.nodeNotReached(node, "why"), "0c000000 016e0000 00037768 79")
    try isWritten(SupervisorError.outOfScope(id), "0d000000 016a")
    try isWritten(SupervisorError.store(.notFound(id)), "0b010000 00016a")
    try isWritten(SupervisorError.store(.conflict(id)), "0b020000 00016a")
    try isWritten(SupervisorError.store(.wrongState(id, .timeout)), "0b030000 00016a00 00000774 696d656f 7574")
    try isWritten(
      SupervisorError.store(.unavailable("full", retryAfterMilliseconds: 5)), "0b040000 00046675 6c6c0000 00000000 0005"
    )
    try isWritten(SupervisorError.store(.invalidCursor("c")), "0b050000 000163")
    try isWritten(SupervisorError.store(.cancelled), "0b06")
    try isWritten(SupervisorError.store(.fenced(id)), "0b070000 00016a")
  }
}
